"""Stages: one file and one public function for each command, read top to bottom. Stages never import each other."""
