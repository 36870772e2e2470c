"""What pre-training minimises, one objective per file; nn/models/pretraining.py adds them up."""
