"""One host: makes, binds, feeds and kills sandboxes; serves the Runtime API."""
