"""Pictures of hands, pairs and curves: arrays for PNG, inline SVG for the HTML report. OpenCV, numpy and PyAV only."""
