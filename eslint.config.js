import eslint from '@eslint/js';
import { defineConfig } from 'eslint/config';
import tseslint from 'typescript-eslint';

// Only what the bundled strict presets do not already say stands below.
export default defineConfig(
  { ignores: ['dist/', 'coverage/', '.cache/', 'src/api/generated/', '.dependency-cruiser.cjs'] },
  eslint.configs.recommended,
  tseslint.configs.strictTypeChecked,
  {
    languageOptions: {
      parserOptions: { projectService: { allowDefaultProject: ['eslint.config.js'] } },
    },
    rules: {
      '@typescript-eslint/no-explicit-any': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': 'error',
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/no-floating-promises': 'error',
      // Numbers and bigints read well in messages; objects there are still refused.
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      // A callback may be given where nothing waits for its promise only when said so with void.
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
      '@typescript-eslint/unified-signatures': 'off',
      'no-restricted-imports': ['error', { patterns: ['rxjs/*'] }],
      'max-lines': ['error', { max: 400, skipBlankLines: true, skipComments: true }],
      'max-lines-per-function': ['error', { max: 80, skipBlankLines: true, skipComments: true }],
    },
  },
  {
    // What is replayed or hashed must not read the world: clock, random and environment are ports.
    files: ['src/base/**', 'src/log/**', 'src/machines/**', 'src/inspect/**'],
    rules: {
      'no-restricted-properties': [
        'error',
        { object: 'Date', property: 'now', message: 'Time comes from the Clock port.' },
        { object: 'Math', property: 'random', message: 'Replayed code must not draw.' },
        { object: 'process', property: 'env', message: 'Settings are parameters.' },
      ],
    },
  },
  {
    files: ['test/**', 'examples/**', 'scripts/**'],
    rules: { 'max-lines-per-function': 'off' },
  },
);
