"""What exsa_lab is compared with: the bare llama.cpp loop, and the peers."""
