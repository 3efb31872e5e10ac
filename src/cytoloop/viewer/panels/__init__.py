"""The widgets of the plugin. They read no file and compute nothing: threads do."""
