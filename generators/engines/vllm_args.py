"""vLLM's engine arguments: names that say where or how fast, and what a CPU needs; imports no vLLM.

What a name of HOW_FAST is set to is in no digest. A name that is absent there may change what is sampled: setting it makes new
ids.
"""

CPU_ARGS = {"enforce_eager": True, "max_model_len": 1024, "max_num_seqs": 128, "kv_cache_memory_bytes": 2 << 30}

HOW_FAST = (
    "allow_deprecated_quantization", "async_scheduling", "block_size", "compilation_config", "cpu_offload_gb",
    "data_parallel_backend", "data_parallel_size", "data_parallel_size_local", "disable_custom_all_reduce",
    "disable_log_stats", "distributed_executor_backend", "download_dir", "enable_chunked_prefill",
    "enable_expert_parallel", "enable_lora", "enable_prefix_caching", "enforce_eager", "fully_sharded_loras",
    "gpu_memory_utilization", "kv_cache_memory_bytes", "long_prefill_token_threshold", "max_cpu_loras", "max_lora_rank",
    "max_loras", "max_model_len", "max_num_batched_tokens", "max_num_seqs", "max_parallel_loading_workers",
    "num_gpu_blocks_override", "pipeline_parallel_size", "safetensors_load_strategy", "scheduling_policy",
    "tensor_parallel_size", "use_tqdm_on_load",
)  # fmt: skip
