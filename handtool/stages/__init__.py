"""Stages: one file and one public function for each command. Stages never import each other."""
