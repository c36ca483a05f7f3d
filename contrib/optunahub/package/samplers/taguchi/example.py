"""Nine runs of an L9 instead of the 27 combinations, shared by any number of processes that start this file."""

import optuna
import optunahub

module = optunahub.load_module("samplers/taguchi")
FACTORS = {"depth": [2, 4, 6], "rate": [0.01, 0.03, 0.1], "subsample": [0.5, 0.75, 1.0]}


def objective(trial: optuna.Trial) -> float:
    """A response that depends on all three factors."""
    depth = trial.suggest_int("depth", 1, 8)
    rate = trial.suggest_float("rate", 0.001, 1, log=True)
    return abs(depth - 4) + 10 * rate + 1 / trial.suggest_categorical("subsample", FACTORS["subsample"])


if __name__ == "__main__":
    sampler = module.TaguchiSampler(module.find_array("l9"), FACTORS)
    study = optuna.create_study(
        study_name="taguchi", storage="sqlite:///taguchi.db", sampler=sampler, load_if_exists=True
    )
    module.optimize(study, objective)
    print(study.trials_dataframe(attrs=("value", "params", "state")))
