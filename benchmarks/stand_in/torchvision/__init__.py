"""The little of torchvision that dcgan/main.py of pytorch/examples calls, on Pillow; for dcgan_peer.py alone."""
