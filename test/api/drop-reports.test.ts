/** Goal: a flood of closed connections is told by number. Method: the clock is turned by hand. */
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { DropReports } from '../../src/api/grpc/drop-reports.js';

let told: string[];
let reports: DropReports;

beforeEach(() => {
  vi.useFakeTimers();
  told = [];
  reports = new DropReports((message) => told.push(message));
});
afterEach(() => {
  reports.close();
  vi.useRealTimers();
});

test('the first is told at once, the others by number every ten seconds', () => {
  for (let count = 0; count < 2_000; count += 1) reports.add('too many connections');
  expect(told.splice(0)).toEqual(['connection closed: too many connections']);
  vi.advanceTimersByTime(9_999);
  expect(told).toEqual([]);
  vi.advanceTimersByTime(1);
  expect(told.splice(0)).toEqual(['1999 more connections closed: too many connections']);
  reports.add('too many connections');
  expect(told).toEqual([]);
  vi.advanceTimersByTime(10_000);
  expect(told.splice(0)).toEqual(['1 more connection closed: too many connections']);
});

test('after ten quiet seconds the next one is a first one again, and no timer stays', () => {
  reports.add('too many connections');
  vi.advanceTimersByTime(10_000);
  expect(vi.getTimerCount()).toBe(0);
  reports.add('too many connections');
  expect(told).toEqual(Array(2).fill('connection closed: too many connections'));
});

test('each reason has its own lines', () => {
  for (let count = 0; count < 3; count += 1) reports.add('too many connections');
  reports.add('no HTTP/2 preface');
  vi.advanceTimersByTime(10_000);
  expect(told).toEqual([
    'connection closed: too many connections',
    'connection closed: no HTTP/2 preface',
    '2 more connections closed: too many connections',
  ]);
});

test('close tells the rest', () => {
  for (let count = 0; count < 3; count += 1) reports.add('too many connections');
  reports.close();
  expect(told.at(-1)).toBe('2 more connections closed: too many connections');
  expect(vi.getTimerCount()).toBe(0);
});
