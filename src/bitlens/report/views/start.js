// The page's script: every view, then the address the page was opened with.

import "./scheme.js";
import "./folds.js";
import "./figures.js";
import "./ledgers.js";
import "./patterns.js";
import "./places.js";
import "./features.js";
import "./documents.js";
import "./lensgrids.js";
import { begin } from "./addresses.js";

begin().finally(() =>
  requestAnimationFrame(() => setTimeout(() => (document.documentElement.dataset.ready = "yes"))),
);
