"""The hall: one file per verb, one public function each, read top to bottom. Stages never import each other."""
