"""How do queues and streams reach their functions? Event source mappings at work."""
