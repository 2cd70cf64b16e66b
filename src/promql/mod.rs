//! PromQL. For now the selectors that `match[]` needs.
