/** The header: the log, the live switch, the theme, and the error banner. */
import type { Controller } from './controller.js';
import { byId, inputById, setAttribute } from './dom.js';
import type { PageState, Store } from './store.js';
import { grouped, visible } from './text.js';

type Theme = 'auto' | 'light' | 'dark';
const themes: readonly Theme[] = ['auto', 'light', 'dark'];
const themeKey = 'stratalog-theme';

export function showHeader(store: Store, controller: Controller, onTheme: () => void): void {
  const live = inputById('live');
  live.addEventListener('change', () => {
    controller.setLive(live.checked);
  });
  byId('close-banner').addEventListener('click', () => {
    store.set({ failure: null });
  });
  store.on(['isLive'], ({ isLive }) => {
    live.checked = isLive;
  });
  store.on(['bounds'], showSource);
  store.on(['failure'], showFailure);
  applyTheme(storedTheme());
  byId('theme').addEventListener('click', () => {
    const next = themes[(themes.indexOf(storedTheme()) + 1) % themes.length] ?? 'auto';
    storeTheme(next);
    applyTheme(next);
    onTheme();
  });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', onTheme);
}

function showSource({ bounds }: PageState): void {
  if (bounds === null) return;
  const { source, release, uuid, epoch } = bounds;
  byId('source').textContent = visible(source);
  const facts = [
    uuid === null ? null : `log ${uuid.slice(0, 8)}`,
    epoch === null ? null : `epoch ${grouped(epoch)}`,
    `stratalog ${release}`,
  ].filter((fact) => fact !== null);
  byId('log-facts').textContent = facts.join(' · ');
  byId('log-facts').title = uuid ?? '';
}

function showFailure({ failure }: PageState): void {
  byId('banner').hidden = failure === null;
  byId('banner-text').textContent = failure === null ? '' : visible(failure.error);
  byId('banner-place').textContent =
    failure === null || failure.position === null ? '' : `position ${grouped(failure.position)}`;
}

function applyTheme(theme: Theme): void {
  setAttribute(document.documentElement, 'data-theme', theme === 'auto' ? null : theme);
  byId('theme').textContent = `Theme: ${theme}`;
}

/** The stored theme. If storage is not allowed, the theme of this page. */
function storedTheme(): Theme {
  const current = document.documentElement.dataset['theme'] ?? null;
  let stored: string | null = current;
  try {
    stored = localStorage.getItem(themeKey) ?? current;
  } catch {
    stored = current;
  }
  return themes.find((theme) => theme === stored) ?? 'auto';
}

function storeTheme(theme: Theme): void {
  try {
    localStorage.setItem(themeKey, theme);
  } catch {
    // Without storage the theme lasts as long as the page.
  }
}
