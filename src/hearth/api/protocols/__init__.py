"""How does a service speak on the wire? One module per AWS protocol, all driven by the model."""
