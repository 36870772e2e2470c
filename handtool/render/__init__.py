"""The window: pictures of hands, pairs and curves as arrays for PNG, and as inline SVG for a page. OpenCV and numpy only."""
