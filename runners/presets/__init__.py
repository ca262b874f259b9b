"""Named configurations, one YAML file a use; `load_preset` reads them."""
