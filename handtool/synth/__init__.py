"""A procedural world of hands, rendered by tracing rays against round cones, with exact truth."""
