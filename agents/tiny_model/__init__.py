"""The bundled checkpoint: a very small Llama that solves short word problems unreliably, so that RL has work to do."""
