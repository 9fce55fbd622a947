/** Prints types by their structure, down to exported names and names of other packages. */
import ts from 'typescript';

/** A longer object is printed with a line for each member. */
const LINE_MAX = 96;

export class TypePrinter {
  /** Types that are being printed, outermost first: one that comes again is recursive. */
  readonly #open: ts.Type[] = [];

  constructor(
    private readonly checker: ts.TypeChecker,
    /** Symbols that stay names. */
    private readonly exported: ReadonlyMap<ts.Symbol, string>,
  ) {}

  declaration(symbol: ts.Symbol, name: string): string {
    const { flags } = symbol;
    if ((flags & ts.SymbolFlags.Class) !== 0) return this.#class(symbol, name);
    if ((flags & ts.SymbolFlags.Interface) !== 0) {
      const type = this.checker.getDeclaredTypeOfSymbol(symbol) as ts.InterfaceType;
      return `interface ${name}${this.#parameters(type.typeParameters)} ${this.#object(type)}`;
    }
    if ((flags & ts.SymbolFlags.TypeAlias) !== 0) {
      const type = this.checker.getDeclaredTypeOfSymbol(symbol);
      return `type ${name} = ${this.#structure(type)}`;
    }
    const what = (flags & ts.SymbolFlags.Function) === 0 ? 'const' : 'function';
    return `${what} ${name}: ${this.#structure(this.checker.getTypeOfSymbol(symbol))}`;
  }

  type(type: ts.Type): string {
    const name = this.#nameOf(type);
    if (name !== null) return name;
    const depth = this.#open.lastIndexOf(type);
    if (depth >= 0) return `(recursive, ${this.#open.length - depth} up)`;
    this.#open.push(type);
    try {
      return this.#structure(type);
    } finally {
      this.#open.pop();
    }
  }

  #nameOf(type: ts.Type): string | null {
    const { aliasSymbol: alias, aliasTypeArguments: given = [] } = type;
    if (alias !== undefined && this.#staysName(alias)) {
      return `${this.exported.get(alias) ?? alias.name}${this.#arguments(given)}`;
    }
    if (this.checker.isArrayType(type) || this.checker.isTupleType(type)) return null;
    if (!isObject(type)) return null;
    const symbol = type.getSymbol();
    if (symbol === undefined || !this.#staysName(symbol)) return null;
    const args = isReference(type) ? this.checker.getTypeArguments(type) : [];
    return `${this.exported.get(symbol) ?? symbol.name}${this.#arguments(args)}`;
  }

  /** Anonymous types of other packages have no name to stay with. */
  #staysName(symbol: ts.Symbol): boolean {
    if (this.exported.has(symbol)) return true;
    const nameless = ts.SymbolFlags.TypeLiteral | ts.SymbolFlags.Function | ts.SymbolFlags.Method;
    return (symbol.flags & nameless) === 0 && isForeign(symbol);
  }

  #structure(type: ts.Type): string {
    if (type.isUnion()) return this.#union(type.types);
    if (type.isIntersection()) return type.types.map((part) => this.type(part)).join(' & ');
    if (type.isTypeParameter()) return type.symbol.name;
    if (this.checker.isTupleType(type)) return this.#tuple(type);
    if (this.checker.isArrayType(type)) return this.#array(type);
    if (isObject(type)) return this.#object(type);
    const text = this.checker.typeToString(type, undefined, ts.TypeFormatFlags.NoTruncation);
    return text.replace(/import\("[^"]*"\)\./g, '');
  }

  #union(types: readonly ts.Type[]): string {
    const parts = new Set(types.map((part) => this.type(part)));
    if (parts.delete('true') && parts.delete('false')) parts.add('boolean');
    const texts = [...parts].sort().map((text) => (text.includes('=>') ? `(${text})` : text));
    return texts.join(texts.join().includes('\n') ? '\n| ' : ' | ');
  }

  #array(type: ts.TypeReference): string {
    const [element] = this.checker.getTypeArguments(type);
    const text = element === undefined ? 'unknown' : this.type(element);
    const isReadonly = type.symbol.name === 'ReadonlyArray';
    return `${isReadonly ? 'readonly ' : ''}${/[|&>]/.test(text) ? `(${text})` : text}[]`;
  }

  #tuple(type: ts.TupleTypeReference): string {
    const parts = this.checker.getTypeArguments(type).map((part) => this.type(part));
    return `${type.target.readonly ? 'readonly ' : ''}[${parts.join(', ')}]`;
  }

  #class(symbol: ts.Symbol, name: string): string {
    const type = this.checker.getDeclaredTypeOfSymbol(symbol) as ts.InterfaceType;
    const statics = this.checker.getTypeOfSymbol(symbol);
    const constructors = statics
      .getConstructSignatures()
      .filter(({ declaration }) => isVisible(declaration))
      .map((signature) => `new ${this.#signature(signature)}`);
    const shared = this.#properties(statics).map((text) => `static ${text}`);
    const bases = this.checker.getBaseTypes(type).map((base) => ` extends ${this.type(base)}`);
    const members = [...constructors, ...shared, ...this.#members(type)];
    const head = `class ${name}${this.#parameters(type.typeParameters)}${bases.join('')}`;
    return `${head} ${inBraces(members)}`;
  }

  #object(type: ts.Type): string {
    const calls = type.getCallSignatures();
    const constructs = type.getConstructSignatures();
    const [call] = calls;
    const isPlainFunction = calls.length === 1 && this.#members(type).length === 1;
    if (call !== undefined && isPlainFunction) return this.#signature(call);
    const news = constructs.map((signature) => `new ${this.#signature(signature)}`);
    return inBraces([...news, ...this.#members(type)]);
  }

  #members(type: ts.Type): string[] {
    const calls = type.getCallSignatures().map((signature) => this.#signature(signature));
    const indexes = this.checker
      .getIndexInfosOfType(type)
      .map(
        ({ keyType, type: value, isReadonly }) =>
          `${isReadonly ? 'readonly ' : ''}[${this.type(keyType)}]: ${this.type(value)}`,
      );
    return [...calls, ...indexes, ...this.#properties(type)];
  }

  /** Members of other packages' types are left out: the name of the base tells of them. */
  #properties(type: ts.Type): string[] {
    return this.checker
      .getPropertiesOfType(type)
      .filter((property) => (property.flags & ts.SymbolFlags.Prototype) === 0)
      .filter((property) => !isPrivateName(property) && !isForeign(property))
      .filter(({ valueDeclaration }) => isVisible(valueDeclaration))
      .map((property) => this.#property(property))
      .sort();
  }

  #property(property: ts.Symbol): string {
    const type = this.checker.getTypeOfSymbol(property);
    const isOptional = (property.flags & ts.SymbolFlags.Optional) !== 0;
    const text = isOptional ? this.#withoutUndefined(type) : this.type(type);
    const prefix = `${isProtected(property) ? 'protected ' : ''}${isReadonly(property) ? 'readonly ' : ''}`;
    // A unique symbol as a key: its number depends on the order of the program's files.
    const name = property.name.replace(/^__@(.*)@\d+$/, '[$1]');
    return `${prefix}${name}${isOptional ? '?' : ''}: ${text}`;
  }

  /** The compiler adds `undefined` to the type of what may be absent. */
  #withoutUndefined(type: ts.Type): string {
    if (!type.isUnion()) return this.type(type);
    const isNullable = type.types.some(({ flags }) => (flags & ts.TypeFlags.Null) !== 0);
    // Only this brings the name of an alias back.
    if (!isNullable) return this.type(this.checker.getNonNullableType(type));
    return this.#union(type.types.filter(({ flags }) => (flags & ts.TypeFlags.Undefined) === 0));
  }

  #signature(signature: ts.Signature): string {
    const parameters = signature.getParameters().map((parameter) => {
      const type = this.checker.getTypeOfSymbol(parameter);
      const { valueDeclaration: declaration } = parameter;
      if (declaration === undefined || !ts.isParameter(declaration)) return this.type(type);
      if (declaration.dotDotDotToken !== undefined) return `...${this.type(type)}`;
      const isOptional = this.checker.isOptionalParameter(declaration);
      return isOptional ? `${this.#withoutUndefined(type)}?` : this.type(type);
    });
    const types = this.#parameters(signature.typeParameters);
    const predicate = this.checker.getTypePredicateOfSignature(signature);
    const answer =
      predicate === undefined
        ? this.type(signature.getReturnType())
        : this.checker.typePredicateToString(predicate);
    return `${types}(${parameters.join(', ')}) => ${answer}`;
  }

  #parameters(parameters: readonly ts.TypeParameter[] | undefined): string {
    if (parameters === undefined || parameters.length === 0) return '';
    const texts = parameters.map((parameter) => {
      const constraint = parameter.getConstraint();
      const { name } = parameter.symbol;
      return constraint === undefined ? name : `${name} extends ${this.type(constraint)}`;
    });
    return `<${texts.join(', ')}>`;
  }

  #arguments(args: readonly ts.Type[]): string {
    return args.length === 0 ? '' : `<${args.map((arg) => this.type(arg)).join(', ')}>`;
  }
}

function inBraces(members: readonly string[]): string {
  const line = `{ ${members.join('; ')} }`;
  if (members.length === 0) return '{}';
  if (line.length <= LINE_MAX && !line.includes('\n')) return line;
  return `{\n${members.map((member) => `  ${member.replaceAll('\n', '\n  ')}`).join('\n')}\n}`;
}

const isObject = (type: ts.Type): type is ts.ObjectType => (type.flags & ts.TypeFlags.Object) !== 0;

const isReference = (type: ts.ObjectType): type is ts.TypeReference =>
  (type.objectFlags & ts.ObjectFlags.Reference) !== 0;

/** Declared by the language, by Node.js or by a dependency. */
function isForeign({ declarations = [] }: ts.Symbol): boolean {
  return (
    declarations.length > 0 &&
    declarations.every((one) => one.getSourceFile().fileName.includes('/node_modules/'))
  );
}

/** `#name` of a class, which declaration files gather in one `#private`. */
const isPrivateName = ({ name }: ts.Symbol): boolean => /^(#|__#)/.test(name);

const modifiersOf = (declaration: ts.Declaration | undefined): ts.ModifierFlags =>
  declaration === undefined ? ts.ModifierFlags.None : ts.getCombinedModifierFlags(declaration);

const isVisible = (declaration: ts.Declaration | undefined): boolean =>
  (modifiersOf(declaration) & ts.ModifierFlags.Private) === 0;

const isProtected = ({ valueDeclaration }: ts.Symbol): boolean =>
  (modifiersOf(valueDeclaration) & ts.ModifierFlags.Protected) !== 0;

function isReadonly(property: ts.Symbol): boolean {
  const isSettable = (property.flags & ts.SymbolFlags.SetAccessor) !== 0;
  if ((property.flags & ts.SymbolFlags.GetAccessor) !== 0) return !isSettable;
  // A member of a mapped type has only the declaration that it was made from.
  const declaration = property.valueDeclaration ?? property.declarations?.[0];
  return (modifiersOf(declaration) & ts.ModifierFlags.Readonly) !== 0;
}
