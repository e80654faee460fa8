"""
Which module builds which architecture.
"""

from __future__ import annotations

# Module -> names in ``architectures`` of config.json.
_MODULES = {
    "llama": (
        "Ernie4_5ForCausalLM", "IQuestCoderForCausalLM", "InternLM3ForCausalLM", "LLaMAForCausalLM",
        "LlamaForCausalLM", "LlamaModel", "MiMoForCausalLM", "Ministral3ForCausalLM", "MistralForCausalLM",
        "MistralModel", "Phi3ForCausalLM", "Qwen2ForCausalLM", "Qwen2Model", "Qwen3ForCausalLM",
        "TeleChat3ForCausalLM",
    ),
    "blip2": ("Blip2ForConditionalGeneration",),
    "classics": ("BloomForCausalLM", "FalconForCausalLM", "GPT2LMHeadModel", "GPTJForCausalLM"),
    "cohere": ("Cohere2ForCausalLM", "Cohere2MoeForCausalLM", "CohereForCausalLM"),
    "cohere2_vision": ("Cohere2VisionForConditionalGeneration",),
    "deepseek": (
        "AXK1ForCausalLM", "DeepseekForCausalLM", "DeepseekV2ForCausalLM", "DeepseekV32ForCausalLM",
        "DeepseekV3ForCausalLM", "Glm4MoeLiteForCausalLM", "GlmMoeDsaForCausalLM",
    ),
    "dense": (
        "ApertusForCausalLM", "Exaone4ForCausalLM", "ExaoneForCausalLM", "Glm4ForCausalLM",
        "HyperCLOVAXForCausalLM", "InternLM2ForCausalLM", "MiniCPMForCausalLM", "NemotronForCausalLM",
        "OrionForCausalLM", "SolarForCausalLM", "StableLmForCausalLM", "Step1ForCausalLM",
        "TeleFLMForCausalLM",
    ),
    "embedding_gemma2": ("EmbeddingGemma2Model",),
    "ernie_moe": ("Ernie4_5_MoeForCausalLM",),
    "exaone_moe": ("ExaoneMoEForCausalLM", "ExaoneMoeForCausalLM"),
    "gemma": (
        "Gemma2ForCausalLM", "Gemma2Model", "Gemma3ForCausalLM", "Gemma3TextModel", "GemmaForCausalLM",
    ),
    "gemma4": ("Gemma4ForCausalLM",),
    "gemma4_vision": (
        "DiffusionGemmaForBlockDiffusion", "DiffusionGemmaForConditionalGeneration", "Gemma4ForConditionalGeneration",
        "Gemma4UnifiedForConditionalGeneration",
    ),
    "glm_moe": ("Glm4MoeForCausalLM",),
    "gemma3_vision": ("Gemma3ForConditionalGeneration",),
    "gpt_oss": ("GptOssForCausalLM",),
    "granite": (
        "GraniteForCausalLM", "GraniteMoeForCausalLM", "GraniteMoeSWAForCausalLM", "GraniteMoeSharedForCausalLM",
        "GraniteSWAForCausalLM",
    ),
    "granite_hybrid": ("GraniteMoeHybridForCausalLM",),
    "hrm": ("HrmTextForCausalLM",),
    "hy_v4": ("HYV4ForCausalLM",),
    "idefics3": ("Idefics3ForConditionalGeneration", "SmolVLMForConditionalGeneration"),
    "internvl": ("InternS1ForConditionalGeneration", "InternVLChatModel", "InternVLForConditionalGeneration"),
    "llava": (
        "LightOnOCRForConditionalGeneration", "LlavaForConditionalGeneration", "LlavaNextForConditionalGeneration",
        "LlavaNextVideoForConditionalGeneration", "LlavaOnevisionForConditionalGeneration",
        "Mistral3ForConditionalGeneration",
    ),
    "llama4": ("Llama4ForCausalLM",),
    "llama4_vision": ("Llama4ForConditionalGeneration",),
    "mamba": ("FalconMambaForCausalLM", "Mamba2ForCausalLM", "MambaForCausalLM"),
    "mimo": ("MiMoV2FlashForCausalLM",),
    "minicpm3": ("MiniCPM3ForCausalLM",),
    "minicpmv4": ("MiniCPMV4_6ForConditionalGeneration", "MiniCPMV4_7ForConditionalGeneration"),
    "mixtral": ("MiniMaxM2ForCausalLM", "MixtralForCausalLM", "OlmoeForCausalLM", "PhiMoEForCausalLM"),
    "nemotron_h": ("NemotronHForCausalLM",),
    "pixtral_native": ("PixtralForConditionalGeneration",),
    "opt": ("OPTForCausalLM",),
    "qwen_moe": ("Qwen2MoeForCausalLM", "Qwen3MoeForCausalLM"),
    "qwen_next": (
        "Qwen3NextForCausalLM", "Qwen3_5ForCausalLM", "Qwen3_5ForConditionalGeneration", "Qwen3_5MoeForCausalLM",
        "Qwen3_5MoeForConditionalGeneration",
    ),
    "transformers_backend": (
        "ArceeForCausalLM", "CwmForCausalLM", "FlexOlmoForCausalLM", "GPTBigCodeForCausalLM",
        "GPTNeoXForCausalLM", "GlmForCausalLM", "HunYuanDenseV1ForCausalLM", "HunYuanMoEV1ForCausalLM",
        "Jais2ForCausalLM", "Kolibri1ForCausalLM", "MellumForCausalLM", "Olmo2ForCausalLM",
        "Olmo3ForCausalLM", "OlmoForCausalLM", "PhiForCausalLM", "SeedOssForCausalLM", "SmolLM3ForCausalLM",
        "Starcoder2ForCausalLM", "VaultGemmaForCausalLM",
    ),
}  # fmt: skip

FAMILIES = {name: module for module, names in _MODULES.items() for name in names}

# Where multimodal configs keep their language model; the first that is there.
TEXT_SECTIONS = ("text_config", "llm_config", "language_config")

# Classes that only pool (no text generation), so that ``--runner auto`` is pooling for them.
# Source: vLLM 0.33 model_executor/models/registry.py, config/model.py:_get_default_runner_type.
_POOLING = frozenset({
    "BertModel", "BertForMaskedLM", "BertSpladeSparseEmbeddingModel", "BgeM3EmbeddingModel", "CLIPModel",
    "EmbeddingGemma2Model", "Gemma3TextModel", "GteModel", "GteNewModel", "ModernBertModel", "ModernVBertModel",
    "NomicBertModel", "RobertaForMaskedLM", "RobertaModel", "SiglipModel", "XLMRobertaModel",
})  # fmt: skip
_POOLING_SUFFIXES = (
    "BidirectionalModel", "ForSequenceClassification", "ForTokenClassification", "ForRewardModel",
    "ForProcessRewardModel",
)  # fmt: skip


def is_pooling(architecture: str) -> bool:
    """
    Whether vLLM serves an architecture with the pooling runner when nothing is said.
    """
    return architecture in _POOLING or architecture.endswith(_POOLING_SUFFIXES)
