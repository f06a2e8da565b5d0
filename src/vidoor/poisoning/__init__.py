"""From a clean set to a poisoned one: the plan, the lazy view, the manifest."""
