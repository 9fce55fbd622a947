import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  parseDuration,
  parseHttpAddress,
  parseSize,
} from '../../src/daemon/config/config-values.js';

test('durations are sums of parts with a unit', () => {
  const read = ['10s', '1m30s', '500ms', '1.5h', '90d', '0s', '1h1m1s1ms'];
  expect(read.map(parseDuration)).toEqual([
    10_000, 90_000, 500, 5_400_000, 7_776_000_000, 0, 3_661_001,
  ]);
});

test('what is not wholly a duration is none', () => {
  const bad = ['', '10', 's', '10 s', '-1s', '10s ', '1m 30s', '10sec', '1e3s', '10S', '∞', '1µs'];
  expect(bad.map(parseDuration)).toEqual(bad.map(() => null));
  expect(parseDuration(`${'9'.repeat(400)}d`)).toBeNull();
});

test('any milliseconds survive being written and read', () => {
  fc.assert(
    fc.property(fc.nat(2 ** 31), fc.nat(999), (seconds, millis) => {
      const text = `${Math.floor(seconds / 60)}m${seconds % 60}s${millis}ms`;
      expect(parseDuration(text)).toBe(seconds * 1000 + millis);
    }),
  );
});

test('sizes are powers of 1024 and say so', () => {
  expect(['64MiB', '512KiB', '1GiB', '100B', '1.5MiB'].map(parseSize)).toEqual([
    67_108_864, 524_288, 1_073_741_824, 100, 1_572_864,
  ]);
  expect(['64M', '64MB', '64', '', 'MiB', '1 MiB'].map(parseSize)).toEqual(Array(6).fill(null));
});

test('an HTTP address is a host and port or an absolute path', () => {
  expect(parseHttpAddress('127.0.0.1:9464')).toEqual({ host: '127.0.0.1', port: 9464 });
  expect(parseHttpAddress('[::1]:9464')).toEqual({ host: '::1', port: 9464 });
  expect(parseHttpAddress('localhost:0')).toEqual({ host: 'localhost', port: 0 });
  expect(parseHttpAddress('/run/x.sock')).toEqual({ path: '/run/x.sock' });
  const bad = ['', '9464', ':9464', 'host:', 'host:70000', '::1:9464', 'x.sock', 'http://h:1'];
  expect(bad.map(parseHttpAddress)).toEqual(bad.map(() => null));
});
