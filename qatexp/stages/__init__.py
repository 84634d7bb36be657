"""The stages of one experiment: glue between data, models, training, quantization and runtimes."""
