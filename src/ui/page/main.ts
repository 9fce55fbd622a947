/** Puts the page together. */
import { ChartPane } from './chart.js';
import { Controller } from './controller.js';
import { EventsPane } from './events.js';
import { FindingsPane } from './findings.js';
import { showHeader } from './header.js';
import { Store } from './store.js';
import { TimeLinePane } from './time-line.js';
import { TreePane } from './tree.js';

// The cookie speaks from now on: the token is not to be read over a shoulder, nor copied along.
if (location.search !== '') history.replaceState(null, '', '/');

const store = new Store();
const controller = new Controller(store);
const timeLine = new TimeLinePane(store, controller);
showHeader(store, controller, () => {
  timeLine.redraw();
});
const panes = [
  new TreePane(store, controller),
  new ChartPane(store, controller),
  new EventsPane(store, controller),
  new FindingsPane(store, controller),
];
document.documentElement.dataset['panes'] = String(panes.length);
void controller.begin();
