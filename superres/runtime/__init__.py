"""What everything runs on: Keras, memory, settings, files, the terminal."""
