"""Mechanism indicators: one quantity a file, of any ``nn.Module`` on [0,1] images, image by image."""
