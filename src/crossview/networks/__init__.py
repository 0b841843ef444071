"""What methods share: backbones, losses, samplers. None of them knows a method or a benchmark."""
