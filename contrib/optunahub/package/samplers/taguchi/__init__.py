"""The sampler as OptunaHub loads it; the code is mammogan's."""

from mammogan.design.arrays import Array, find_array
from mammogan.design.sampler import TaguchiSampler, replicate_number
from mammogan.design.together import optimize

__all__ = ["Array", "TaguchiSampler", "find_array", "optimize", "replicate_number"]
