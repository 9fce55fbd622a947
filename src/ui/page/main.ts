/** Entry point of the page. */
import { ChartPane } from './chart.js';
import { Controller } from './controller.js';
import { EventsPane } from './events.js';
import { FindingsPane } from './findings.js';
import { showHeader } from './header.js';
import { Store } from './store.js';
import { TimeLinePane } from './time-line.js';
import { TreePane } from './tree.js';

// The cookie replaces the token: it must not be visible in the address bar or copied with it.
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
