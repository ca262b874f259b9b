"""Any causal language model as an RLModule for RLlib's own algorithms, one token an action: `module.CausalLMModule`."""
