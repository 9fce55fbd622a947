/** The fields of a zod object as rows: path, type in words, description. */
import { z } from 'zod';

export interface Field {
  /** Dotted for a field within a field: `parent.name`; `findings[].kind` within a list. */
  readonly path: string;
  readonly type: string;
  readonly description: string;
}

export function fieldsOf(schema: z.ZodType): readonly Field[] {
  return shapeFields(schema, '');
}

function shapeFields(schema: z.ZodType, prefix: string): readonly Field[] {
  if (schema instanceof z.ZodUnion) return variantFields(schema, prefix);
  if (!(schema instanceof z.ZodObject)) return [];
  return Object.entries(schema.shape as Record<string, z.ZodType>).flatMap(([name, field]) => {
    const path = `${prefix}${name}`;
    const bare = unwrapped(field);
    const own: Field = { path, type: typeName(field), description: descriptionOf(field) };
    if (bare instanceof z.ZodArray) {
      return [own, ...shapeFields(bare.element as z.ZodType, `${path}[].`)];
    }
    return [own, ...shapeFields(bare, `${path}.`)];
  });
}

/** The fields of all variants; one that has several variants once. */
function variantFields(schema: z.ZodUnion, prefix: string): readonly Field[] {
  const fields = new Map<string, Field>();
  for (const variant of schema.options) {
    for (const field of shapeFields(variant as z.ZodType, prefix)) {
      if (!fields.has(field.path)) fields.set(field.path, field);
    }
  }
  return [...fields.values()];
}

/** The schema within `nullable`, `optional` and transforms. */
function unwrapped(schema: z.ZodType): z.ZodType {
  const inner = innerOf(schema);
  return inner === null ? schema : unwrapped(inner);
}

function innerOf(schema: z.ZodType): z.ZodType | null {
  if (schema instanceof z.ZodNullable || schema instanceof z.ZodOptional) {
    return schema.unwrap() as z.ZodType;
  }
  return schema instanceof z.ZodPipe ? (schema.in as z.ZodType) : null;
}

/** The outermost description: a field may say more than its type does. */
function descriptionOf(schema: z.ZodType): string {
  if (schema.description !== undefined) return schema.description;
  const inner = innerOf(schema);
  return inner === null ? '' : descriptionOf(inner);
}

function typeName(schema: z.ZodType): string {
  if (schema instanceof z.ZodNullable) return `${typeName(schema.unwrap() as z.ZodType)} or null`;
  if (schema instanceof z.ZodOptional) return `${typeName(schema.unwrap() as z.ZodType)}, optional`;
  if (schema instanceof z.ZodPipe) return typeName(schema.in as z.ZodType);
  if (schema instanceof z.ZodEnum) {
    return schema.options.map((option) => `"${option}"`).join(' or ');
  }
  if (schema instanceof z.ZodArray) return `list of ${typeName(schema.element as z.ZodType)}`;
  const isObject = [z.ZodObject, z.ZodRecord, z.ZodUnion].some((kind) => schema instanceof kind);
  if (isObject) return 'object';
  // Labels: checked by hand, because a record schema would lose a label named __proto__.
  if (schema instanceof z.ZodCustom) return 'object of strings';
  if (schema instanceof z.ZodNumber) return schema.format === null ? 'number' : 'integer';
  if (schema instanceof z.ZodString) return 'string';
  if (schema instanceof z.ZodBoolean) return 'boolean';
  throw new Error(`the documents have no word for the schema type ${schema.def.type}`);
}
