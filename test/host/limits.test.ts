import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { expect, test } from 'vitest';
import { descriptorLimits, openDescriptorCount } from '../../src/host/process/limits.js';

test('counts the descriptors that are open', () => {
  const before = openDescriptorCount();
  const fds = Array.from({ length: 3 }, () => fs.openSync('/dev/null', 'r'));
  expect(openDescriptorCount()).toBe(before + 3);
  for (const fd of fds) fs.closeSync(fd);
  expect(openDescriptorCount()).toBe(before);
});

test('reads the limits that the kernel shows', () => {
  const line = /^Max open files\s+(\S+)\s+(\S+)/m.exec(
    fs.readFileSync('/proc/self/limits', 'utf8'),
  );
  const asNumber = (text = ''): number => (text === 'unlimited' ? Infinity : Number(text));
  expect(descriptorLimits()).toEqual({ soft: asNumber(line?.[1]), hard: asNumber(line?.[2]) });
});

test('raises the soft limit to the hard one', () => {
  const fixture = new URL('./fixtures/raises-limit.ts', import.meta.url).pathname;
  const command = `ulimit -Sn 256; ulimit -Hn 4096; exec "$0" --import tsx "$1"`;
  const output = execFileSync('bash', ['-c', command, process.execPath, fixture], {
    encoding: 'utf8',
  });
  expect(JSON.parse(output)).toEqual({
    limits: { soft: 4096, hard: 4096 },
    shown: ['4096', '4096'],
  });
});
