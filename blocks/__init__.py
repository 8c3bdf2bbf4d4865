"""What is built: components, the network they make, and what it costs. Needs torch, torchvision and timm alone."""
