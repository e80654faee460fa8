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
    "afmoe": ("AfmoeForCausalLM",),
    "bailing": (
        "BailingMoeForCausalLM", "BailingMoeV2ForCausalLM", "HYV3ForCausalLM", "Param2MoEForCausalLM",
        "SarvamMoEForCausalLM",
    ),
    "sarvam_mla": ("SarvamMLAForCausalLM",),
    "chatglm": ("ChatGLMForConditionalGeneration", "ChatGLMModel"),
    "dbrx": ("DbrxForCausalLM",),
    "laguna": ("LagunaForCausalLM",),
    "openpangu": ("PanguEmbeddedForCausalLM", "PanguUltraMoEForCausalLM"),
    "bert": (
        "BertForMaskedLM", "BertForSequenceClassification", "BertForTokenClassification", "BertModel",
        "BertSpladeSparseEmbeddingModel", "BgeM3EmbeddingModel", "HF_ColBERT", "RobertaForMaskedLM",
        "RobertaForSequenceClassification", "RobertaForTokenClassification", "RobertaModel",
        "XLMRobertaForSequenceClassification", "XLMRobertaForTokenClassification", "XLMRobertaModel",
    ),
    "bert_rope": (
        "ColBERTJinaRobertaModel", "GteModel", "GteNewForSequenceClassification", "GteNewModel", "NomicBertModel",
    ),
    "aria": ("AriaForConditionalGeneration",),
    "audio_flamingo": ("AudioFlamingo3ForConditionalGeneration",),
    "blip2": ("Blip2ForConditionalGeneration",),
    "bailing_linear": ("BailingMoeV2_5ForCausalLM",),
    "classics": ("BloomForCausalLM", "FalconForCausalLM", "GPT2LMHeadModel", "GPTJForCausalLM"),
    "cohere": ("Cohere2ForCausalLM", "Cohere2MoeForCausalLM", "CohereForCausalLM"),
    "cohere2_vision": ("Cohere2VisionForConditionalGeneration",),
    "deepseek": (
        "AXK1ForCausalLM", "DeepseekForCausalLM", "DeepseekV2ForCausalLM", "DeepseekV32ForCausalLM",
        "DeepseekV3ForCausalLM", "Glm4MoeLiteForCausalLM", "GlmMoeDsaForCausalLM", "MistralLarge3ForCausalLM",
    ),
    "deepseek_v4": ("DeepseekV4ForCausalLM",),
    "deepseek_vision": ("DeepseekOCR2ForCausalLM", "DeepseekOCRForCausalLM", "DeepseekVLV2ForCausalLM"),
    "dense": (
        "ApertusForCausalLM", "Exaone4ForCausalLM", "ExaoneForCausalLM", "Glm4ForCausalLM",
        "HyperCLOVAXForCausalLM", "InternLM2ForCausalLM", "MiniCPMForCausalLM", "NemotronForCausalLM",
        "OrionForCausalLM", "SolarForCausalLM", "StableLmForCausalLM", "Step1ForCausalLM",
        "IQuestLoopCoderForCausalLM", "Plamo3ForCausalLM", "Rnj1ForCausalLM",
        "TeleChat2ForCausalLM", "TeleFLMForCausalLM",
    ),
    "eagle": ("Eagle2_5_VLForConditionalGeneration",),
    "embedding_gemma2": ("EmbeddingGemma2Model",),
    "ernie_vision": ("Ernie4_5_VLMoeForConditionalGeneration",),
    "ernie_moe": ("Ernie4_5_MoeForCausalLM",),
    "exaone_moe": ("ExaoneMoEForCausalLM", "ExaoneMoeForCausalLM"),
    "falcon_h1": ("FalconH1ForCausalLM",),
    "gemma": (
        "Gemma2ForCausalLM", "Gemma2Model", "Gemma3ForCausalLM", "Gemma3TextModel", "GemmaForCausalLM",
    ),
    "gemma3n": ("Gemma3nForCausalLM",),
    "gemma3n_mm": ("Gemma3nForConditionalGeneration",),
    "gemma4": ("Gemma4ForCausalLM",),
    "gemma4_vision": (
        "DiffusionGemmaForBlockDiffusion", "DiffusionGemmaForConditionalGeneration", "Gemma4ForConditionalGeneration",
        "Gemma4UnifiedForConditionalGeneration",
    ),
    "glm_vision": (
        "Glm4vForConditionalGeneration", "Glm4vMoeForConditionalGeneration", "GlmOcrForConditionalGeneration",
    ),
    "glm_moe": ("Glm4MoeForCausalLM",),
    "gemma3_vision": ("Gemma3ForConditionalGeneration",),
    "gpt_oss": ("GptOssForCausalLM",),
    "granite": (
        "GraniteForCausalLM", "GraniteMoeForCausalLM", "GraniteMoeSWAForCausalLM", "GraniteMoeSharedForCausalLM",
        "GraniteSWAForCausalLM",
    ),
    "granite4_vision": ("Granite4VisionForConditionalGeneration",),
    "granite_hybrid": ("GraniteMoeHybridForCausalLM",),
    "granite_speech": ("GraniteSpeechForConditionalGeneration", "GraniteSpeechPlusForConditionalGeneration"),
    "hrm": ("HrmTextForCausalLM",),
    "hy_v4": ("HYV4ForCausalLM",),
    "idefics3": ("Idefics3ForConditionalGeneration", "SmolVLMForConditionalGeneration"),
    "kimi_linear": ("KimiLinearForCausalLM",),
    "kimi_vision": (
        "KimiK25ForConditionalGeneration", "KimiK3ForConditionalGeneration", "KimiVLForConditionalGeneration",
    ),
    "inkling": ("InklingForCausalLM", "InklingForConditionalGeneration"),
    "internvl": (
        "H2OVLChatModel", "InternS1ForConditionalGeneration", "InternVLChatModel", "InternVLForConditionalGeneration",
        "NVLM_D", "QianfanOCRForConditionalGeneration", "SkyworkR1VChatModel",
    ),
    "jamba": ("JambaForCausalLM", "JambaForSequenceClassification"),
    "lfm2": ("ColBERTLfm2Model", "Lfm2BidirectionalModel", "Lfm2ForCausalLM", "Lfm2MoeForCausalLM"),
    "llava": (
        "LightOnOCRForConditionalGeneration", "LlavaForConditionalGeneration", "LlavaNextForConditionalGeneration",
        "LlavaNextVideoForConditionalGeneration", "LlavaOnevisionForConditionalGeneration",
        "Mistral3ForConditionalGeneration",
    ),
    "llama4": ("Llama4ForCausalLM",),
    "llama4_vision": ("Llama4ForConditionalGeneration",),
    "longcat": ("LongcatFlashForCausalLM", "LongcatFlashNgramForCausalLM"),
    "mamba": ("FalconMambaForCausalLM", "Mamba2ForCausalLM", "MambaForCausalLM"),
    "mimo": ("MiMoV2FlashForCausalLM", "MiMoV2ForCausalLM"),
    "minicpm3": ("MiniCPM3ForCausalLM",),
    "minicpmv": ("MiniCPMO", "MiniCPMV"),
    "minicpmv4": ("MiniCPMV4_6ForConditionalGeneration", "MiniCPMV4_7ForConditionalGeneration"),
    "minimax_m3": ("MiniMaxM3SparseForCausalLM", "MiniMaxM3SparseForConditionalGeneration"),
    "mixtral": ("MiniMaxM2ForCausalLM", "MixtralForCausalLM", "OlmoeForCausalLM", "PhiMoEForCausalLM"),
    "modernbert": (
        "ColBERTModernBertModel", "ColModernVBertForRetrieval", "ModernBertForSequenceClassification",
        "ModernBertForTokenClassification", "ModernBertModel", "ModernVBertModel",
    ),
    "molmo": ("MolmoForCausalLM",),
    "molmo2": ("Molmo2ForConditionalGeneration",),
    "muse_glimmer": ("MuseGlimmerForConditionalGeneration",),
    "nemotron_h": ("NemotronHForCausalLM", "NemotronHPuzzleForCausalLM"),
    "nemotron_vl": (
        "NemotronH_Nano_Omni_Reasoning_V3", "NemotronH_Nano_VL_V2", "NemotronH_Omni_Reasoning_V3",
        "NemotronH_Super_Omni_Reasoning_V3",
    ),
    "navit": (
        "DotsOCRForCausalLM", "KeyeForConditionalGeneration", "KeyeVL1_5ForConditionalGeneration",
        "LlavaOnevision2ForConditionalGeneration", "PaddleOCRVLForConditionalGeneration",
    ),
    "pooling": (
        "GPT2ForSequenceClassification", "InternLM2ForRewardModel",
        "JinaEmbeddingsV5Model", "JinaForRanking", "LlamaBidirectionalForSequenceClassification",
        "LlamaBidirectionalModel", "Qwen2ForProcessRewardModel", "Qwen2ForRewardModel",
        "VoyageQwen3BidirectionalEmbedModel",
    ),
    "nemotron_nas": ("DeciLMForCausalLM",),
    "olmo_hybrid": ("OlmoHybridForCausalLM",),
    "pixtral_native": ("PixtralForConditionalGeneration",),
    "ovis": ("Ovis", "Ovis2_5", "Ovis2_6ForCausalLM", "Ovis2_6_MoeForCausalLM"),
    "paligemma": ("PaliGemmaForConditionalGeneration",),
    "phi3_vision": ("Phi3VForCausalLM",),
    "phi4mm": ("Phi4MMForCausalLM",),
    "opt": ("OPTForCausalLM",),
    "qwen2_vl": (
        "Exaone4_5_ForConditionalGeneration", "OpenCUAForConditionalGeneration", "Qwen2VLForConditionalGeneration",
        "Qwen2_5_VLForConditionalGeneration",
    ),
    "qwen3_vl": (
        "Cosmos3ForConditionalGeneration", "Qwen3VLForConditionalGeneration", "Qwen3VLMoeForConditionalGeneration",
    ),
    "qwen_omni": (
        "Qwen2AudioForConditionalGeneration", "Qwen2_5OmniForConditionalGeneration", "Qwen2_5OmniModel",
        "Qwen3ASRForConditionalGeneration", "Qwen3ASRRealtimeGeneration", "Qwen3OmniMoeForConditionalGeneration",
    ),
    "qwen_moe": ("Qwen2MoeForCausalLM", "Qwen3MoeForCausalLM"),
    "qwen_next": (
        "InternS2PreviewForConditionalGeneration", "Qwen3NextForCausalLM", "Qwen3_5ForCausalLM",
        "Qwen3_5ForConditionalGeneration", "Qwen3_5MoeForCausalLM", "Qwen3_5MoeForConditionalGeneration",
    ),
    "siglip2_models": ("Lfm2VlForConditionalGeneration", "Phi4ForCausalLMV"),
    "speech": ("GlmAsrForConditionalGeneration", "MossTranscribeDiarizeForConditionalGeneration"),
    "two_towers": ("CLIPModel", "SiglipModel"),
    "whisper": ("WhisperForConditionalGeneration",),
    "step3_text": ("Step3TextForCausalLM",),
    "step3p5": ("Step3p5ForCausalLM",),
    "step_vision": (
        "Step3VLForConditionalGeneration", "Step3p7ForConditionalGeneration", "StepVLForConditionalGeneration",
    ),
    "transformers_backend": (
        "ArceeForCausalLM", "CwmForCausalLM", "FlexOlmoForCausalLM", "GPTBigCodeForCausalLM",
        "GPTNeoXForCausalLM", "GlmForCausalLM", "HunYuanDenseV1ForCausalLM", "HunYuanMoEV1ForCausalLM",
        "Jais2ForCausalLM", "Kolibri1ForCausalLM", "MellumForCausalLM", "Olmo2ForCausalLM",
        "Olmo3ForCausalLM", "OlmoForCausalLM", "PhiForCausalLM", "SeedOssForCausalLM", "SmolLM3ForCausalLM",
        "Starcoder2ForCausalLM", "VaultGemmaForCausalLM",
    ),
    "zamba2": ("Zamba2ForCausalLM",),
    "ultravox": ("UltravoxModel",),
    "voxtral": ("VoxtralForConditionalGeneration",),
}  # fmt: skip

FAMILIES = {name: module for module, names in _MODULES.items() for name in names}

# Where multimodal configs keep their language model; the first that is there.
TEXT_SECTIONS = ("text_config", "llm_config", "language_config")

# Classes that pool by themselves, and the others that pool when nothing is said but have no telling suffix.
# Source: vLLM 0.33 model_executor/models/registry.py.
_POOLING = frozenset({
    "BertForMaskedLM", "BertForSequenceClassification", "BertForTokenClassification", "BertModel",
    "BertSpladeSparseEmbeddingModel", "BgeM3EmbeddingModel", "CLIPModel", "ColBERTJinaRobertaModel",
    "ColBERTLfm2Model", "ColBERTModernBertModel", "ColModernVBertForRetrieval", "EmbeddingGemma2Model",
    "GPT2ForSequenceClassification", "GteNewForSequenceClassification", "HF_ColBERT", "InternLM2ForRewardModel",
    "JambaForSequenceClassification", "JinaEmbeddingsV5Model", "JinaForRanking", "Lfm2BidirectionalModel",
    "LlamaBidirectionalForSequenceClassification", "LlamaBidirectionalModel", "ModernBertForSequenceClassification",
    "ModernBertForTokenClassification", "ModernVBertModel",
    "Qwen2ForProcessRewardModel", "Qwen2ForRewardModel", "RobertaForMaskedLM", "RobertaForSequenceClassification",
    "RobertaForTokenClassification", "RobertaModel", "SiglipModel", "VoyageQwen3BidirectionalEmbedModel",
    "XLMRobertaForSequenceClassification", "XLMRobertaForTokenClassification", "XLMRobertaModel",
})  # fmt: skip
# Classes that generate although their name ends like one that pools.
_GENERATING = frozenset({
    "ChatGLMModel", "Gemma2Model", "LlamaModel", "MiDashengLMModel", "MistralModel", "MossAudioModel",
    "Qwen2Model", "Qwen2_5OmniModel", "UltravoxModel",
})  # fmt: skip
# Source: vLLM 0.33 config/model.py:_SUFFIX_TO_DEFAULTS; the first that fits counts.
_SUFFIXES = {
    "ForCausalLM": ("generate", "none"), "ForConditionalGeneration": ("generate", "none"),
    "ChatModel": ("generate", "none"), "LMHeadModel": ("generate", "none"), "ForTextEncoding": ("pooling", "embed"),
    "EmbeddingModel": ("pooling", "embed"), "ForSequenceClassification": ("pooling", "classify"),
    "ForTokenClassification": ("pooling", "classify"), "ForAudioClassification": ("pooling", "classify"),
    "ForImageClassification": ("pooling", "classify"), "ForVideoClassification": ("pooling", "classify"),
    "ClassificationModel": ("pooling", "classify"), "ForRewardModeling": ("pooling", "embed"),
    "RewardModel": ("pooling", "embed"), "Model": ("pooling", "embed"),
}  # fmt: skip


def default_serving(architecture: str) -> tuple[str, str]:
    """
    (runner, convert) of an architecture when nothing is said.

    >>> default_serving("Qwen3ForSequenceClassification")
    ('pooling', 'classify')
    """
    if architecture in _POOLING:
        return "pooling", "none"
    suffix = None if architecture in _GENERATING else _suffix(architecture)
    return _SUFFIXES[suffix] if suffix else ("generate", "none")


def base_architecture(name: str) -> str | None:
    """
    The architecture whose module builds this one; None: nobody taught us.

    Source: vLLM 0.33 ``model_executor/models/registry.py:_normalize_arch``.

    >>> base_architecture("Qwen3ForSequenceClassification")
    'Qwen3ForCausalLM'
    """
    if name in FAMILIES:
        return name
    suffix = _suffix(name)
    if suffix is None:
        return None
    stem = name.removesuffix(suffix)
    return next((stem + other for other in _SUFFIXES if stem + other in FAMILIES), None)


def _suffix(architecture: str) -> str | None:
    return next((suffix for suffix in _SUFFIXES if architecture.endswith(suffix)), None)
