"""Design of experiments: arrays, the sampler that runs them, the study around it, and the analysis."""
