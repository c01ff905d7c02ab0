"""The machine that code runs on: files, processes, devices, progress and figures."""
