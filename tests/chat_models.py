"""One tiny random checkpoint of each kind of vision-language model, written as the real ones are:
the files, special tokens, chat template and default settings of the family; small all else.

`make_chat_model("qwen3_vl", folder)` writes one, `load_chat(folder)` loads it with what PIL alone
can do: neither torchvision nor what reads videos and sounds is needed.
"""

import functools
import inspect
import json
from pathlib import Path
from typing import NamedTuple

import torch
import transformers
from chat_templates import CHATML, GEMMA, LLAVA, SMOLVLM, SYSTEM, filled
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoConfig, AutoModelForImageTextToText, GenerationConfig
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES
from transformers.models.paligemma.processing_paligemma import EXTRA_TOKENS
from transformers.processing_utils import ProcessorMixin

from imgcap.data.creatures import caption_creature, deal_attributes

QUESTION = "Describe the picture."
SIZES = dict(hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4)
VISION = dict(SIZES, image_size=64, patch_size=16)
SQUARE = dict(height=64, width=64)


class Parts(NamedTuple):
    config: dict  # of the model, without its type
    tokenizer: transformers.PreTrainedTokenizerFast
    pictures: dict  # settings of the image processor, with its type
    options: dict = {}  # of the processor
    template: str | None = None  # of a chat
    generation: dict = {}  # how the checkpoint writes unless told otherwise
    ends: tuple = ()  # tokens that end a caption; the tokenizer's own where not given
    video: str | None = None  # class that would read videos


@functools.cache
def sentences():
    facts = [deal_attributes(0, "train", i) for i in range(200)]
    said = [text for i, each in enumerate(facts) for text in caption_creature(each, seed=i)]
    return [*said, *[f"user\nassistant\nmodel\n{QUESTION}"] * 20]


def learn_tokenizer(specials="", named=None, adds_start=False, **ends):
    "Byte-level BPE of captions; `named` are tokens that the tokenizer has as attributes."
    named = dict(named or {})
    specials = list(dict.fromkeys([*ends.values(), *named.values(), *specials.split()]))
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420 + len(specials),
        special_tokens=specials,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(sentences(), trainer)
    if adds_start:
        start = ends["bos_token"]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{start} $A",
            pair=f"{start} $A $B:1",
            special_tokens=[(start, tokenizer.token_to_id(start))],
        )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        extra_special_tokens=named,
        clean_up_tokenization_spaces=False,
        **ends,
    )


def text_config(tokenizer, **more):
    names = ("bos_token_id", "eos_token_id", "pad_token_id")
    ends = {name: getattr(tokenizer, name) for name in names}
    return dict(SIZES, num_key_value_heads=2, vocab_size=len(tokenizer), **ends) | more


def ids(tokenizer, **tokens):
    "{name in the config: number of the token}."
    return {name: tokenizer.convert_tokens_to_ids(token) for name, token in tokens.items()}


def smolvlm(kind):
    "Cuts a picture in up to 16 tiles, and adds the whole: 17 times 16 tokens."
    name = "Idefics3" if kind == "idefics3" else "SmolVLM"
    named = {
        "image_token": "<image>",
        "fake_image_token": "<fake_token_around_image>",
        "global_image_token": "<global-img>",
        "end_of_utterance_token": "<end_of_utterance>",
    }
    tokenizer = learn_tokenizer(
        " ".join(f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)),
        named,
        bos_token="<|im_start|>",
        eos_token="<end_of_utterance>",
        pad_token="<|im_end|>",
    )
    config = dict(
        text_config=text_config(tokenizer, model_type="llama"),
        vision_config=VISION | {"patch_size": 8},
        scale_factor=2,
        **ids(tokenizer, image_token_id="<image>"),
    )
    pictures = dict(
        image_processor_type=f"{name}ImageProcessor",
        size={"longest_edge": 4 * 64},
        max_image_size={"longest_edge": 64},
        do_image_splitting=True,
    )
    video = None if kind == "idefics3" else "SmolVLMVideoProcessor"
    return Parts(config, tokenizer, pictures, {"image_seq_len": 16}, SMOLVLM, video=video)


def qwen_sizes(kind):
    "What the vision and the text model of each generation have of their own."
    vision = dict(depth=2, num_heads=4, hidden_size=64, intermediate_size=128, out_hidden_size=64)
    rope = dict(rope_type="default", rope_theta=1e4, mrope_section=[4, 2, 2])
    if kind == "qwen2_5_vl":
        vision |= dict(patch_size=14, window_size=56, fullatt_block_indexes=[1])
        return vision, dict(rope_parameters=rope)
    vision |= dict(patch_size=16, num_position_embeddings=64)
    rope |= dict(mrope_interleaved=True)
    if kind == "qwen3_vl":
        return vision | dict(deepstack_visual_indexes=[0]), dict(rope_parameters=rope, head_dim=16)
    rope |= dict(mrope_section=[2, 1, 1], partial_rotary_factor=0.25)
    linear = dict(linear_num_key_heads=2, linear_num_value_heads=2)
    linear |= dict(linear_key_head_dim=16, linear_value_head_dim=16)
    layers = dict(layer_types=["linear_attention", "full_attention"])
    return vision, dict(rope_parameters=rope, head_dim=32, **linear, **layers)


def qwen(kind):
    "As many tokens as a picture has pixels for: its sizes are numbers of pixels, not of a side."
    old, thinks = kind == "qwen2_5_vl", kind == "qwen3_5"
    tokenizer = learn_tokenizer(
        "<|endoftext|> <|im_start|> <|vision_start|> <|vision_end|> <think> </think>",
        {"image_token": "<|image_pad|>", "video_token": "<|video_pad|>"},
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
    )
    vision, text = qwen_sizes(kind)
    seen = {f"{name}_token_id": f"<|{name}|>" for name in ("vision_start", "vision_end")}
    seen |= {f"{name}_token_id": f"<|{name}_pad|>" for name in ("image", "video")}
    config = dict(
        text_config=text_config(tokenizer, **text), vision_config=vision, **ids(tokenizer, **seen)
    )
    pictures = dict(
        image_processor_type="Qwen2VLImageProcessorFast",
        size={"shortest_edge": 64 * 64, "longest_edge": 16_777_216},
        patch_size=vision["patch_size"],
        merge_size=2,
    )
    picture = "<|vision_start|><|image_pad|><|vision_end|>"
    template = filled(CHATML, PICTURE=picture, THINKS="true" if thinks else "false")
    generation = dict(do_sample=True, top_k=20, top_p=0.8, temperature=0.7)
    generation |= {"repetition_penalty": 1.05} if old else {}
    ends, video = ("<|im_end|>", "<|endoftext|>"), f"Qwen{2 if old else 3}VLVideoProcessor"
    template = (SYSTEM if old else "") + template
    return Parts(config, tokenizer, pictures, {}, template, generation, ends, video)


def gemma_tokenizer(specials, **named):
    ends = dict(pad_token="<pad>", eos_token="<eos>", bos_token="<bos>")
    return learn_tokenizer(specials, named, adds_start=True, **ends)


GEMMA_TEXT = dict(head_dim=16, layer_types=["sliding_attention", "full_attention"])
GEMMA_WRITES = dict(do_sample=True, top_k=64, top_p=0.95)


def gemma3(kind):
    "The template and the tokenizer both put a start, and a turn has an end of its own."
    tokenizer = gemma_tokenizer(
        "<start_of_turn> <end_of_turn>",
        boi_token="<start_of_image>",
        eoi_token="<end_of_image>",
        image_token="<image_soft_token>",
    )
    config = dict(
        text_config=text_config(tokenizer, query_pre_attn_scalar=16, **GEMMA_TEXT),
        vision_config=VISION,
        mm_tokens_per_image=4,
        **ids(tokenizer, boi_token_index="<start_of_image>", eoi_token_index="<end_of_image>"),
        **ids(tokenizer, image_token_index="<image_soft_token>"),
    )
    pictures = dict(image_processor_type="Gemma3ImageProcessor", size=SQUARE)
    turns = dict(START="<start_of_turn>", END="<end_of_turn>", PICTURE="<start_of_image>")
    template, ends = filled(GEMMA, THOUGHT="", **turns), ("<eos>", "<end_of_turn>")
    options = {"image_seq_length": 4}
    return Parts(config, tokenizer, pictures, options, template, GEMMA_WRITES, ends)


def gemma4(kind):
    "As Gemma 3; and an empty thought stands before what is written, not in a chat that is over."
    named = dict(boi_token="<|image>", eoi_token="<image|>", image_token="<|image|>")
    named |= dict(boa_token="<|audio>", eoa_token="<audio|>", audio_token="<|audio|>")
    tokenizer = gemma_tokenizer("<|turn> <turn|> <|channel> <channel|> <|video|>", **named)
    own = dict(global_head_dim=16, hidden_size_per_layer_input=8, final_logit_softcapping=30.0)
    own |= dict(use_bidirectional_attention="vision", vocab_size_per_layer_input=len(tokenizer))
    sizes = dict(SIZES, num_key_value_heads=4, head_dim=16, num_hidden_layers=1)
    config = dict(
        text_config=text_config(tokenizer, **GEMMA_TEXT, **own),
        vision_config=dict(sizes, patch_size=4, pooling_kernel_size=3, position_embedding_size=256),
        **ids(tokenizer, boi_token_id="<|image>", eoi_token_id="<image|>"),
        **ids(tokenizer, image_token_id="<|image|>", video_token_id="<|video|>"),
        **ids(tokenizer, boa_token_id="<|audio>", audio_token_id="<|audio|>"),
        **ids(tokenizer, eoa_token_index="<audio|>"),
    )
    pictures = dict(image_processor_type="Gemma4ImageProcessor", patch_size=4)
    pictures |= dict(max_soft_tokens=70, pooling_kernel_size=3)
    turns = dict(START="<|turn>", END="<turn|>", PICTURE="<|image|>")
    template = filled(GEMMA, THOUGHT="<|channel>thought\\n<channel|>", **turns)
    options, ends = {"image_seq_length": 70}, ("<eos>", "<turn|>")
    video = "Gemma4VideoProcessor"
    return Parts(config, tokenizer, pictures, options, template, GEMMA_WRITES, ends, video)


def llava(kind):
    "The template says no end: a caption ends with what the tokenizer calls so."
    named, ends = {"image_token": "<image>"}, dict(bos_token="<s>", eos_token="</s>")
    tokenizer = learn_tokenizer(named=named, adds_start=True, pad_token="<pad>", **ends)
    config = dict(
        text_config=text_config(tokenizer, model_type="llama"),
        vision_config=dict(VISION, model_type="clip_vision_model", projection_dim=64),
        image_seq_length=16,
        **ids(tokenizer, image_token_index="<image>"),
    )
    pictures = dict(image_processor_type="CLIPImageProcessor", size={"shortest_edge": 64})
    pictures |= dict(crop_size=SQUARE)
    options = dict(patch_size=16, vision_feature_select_strategy="default")
    options |= dict(num_additional_image_tokens=1)
    return Parts(config, tokenizer, pictures, options, LLAVA)


def internvl(kind):
    "Cuts a picture in up to 12 tiles, and adds the whole."
    named = dict(start_image_token="<img>", end_image_token="</img>", video_token="<video>")
    tokenizer = learn_tokenizer(
        "<|im_start|> <|endoftext|>",
        named | {"context_image_token": "<IMG_CONTEXT>"},
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
    )
    config = dict(
        text_config=text_config(tokenizer, model_type="qwen2"),
        vision_config=VISION,
        image_seq_length=4,
        downsample_ratio=0.5,
        **ids(tokenizer, image_token_id="<IMG_CONTEXT>"),
    )
    pictures = dict(image_processor_type="GotOcr2ImageProcessorFast", size=SQUARE)
    pictures |= dict(crop_to_patches=True, min_patches=1, max_patches=12)
    template = filled(CHATML, PICTURE="<IMG_CONTEXT>\\n", THINKS="false")
    options, video = {"image_seq_length": 4}, "InternVLVideoProcessor"
    return Parts(config, tokenizer, pictures, options, template, video=video)


def florence2(kind):
    "An encoder reads picture and question, a decoder writes from `</s><s>`."
    ends = dict(bos_token="<s>", pad_token="<pad>", eos_token="</s>")
    tokenizer = learn_tokenizer(named={"image_token": "<image>"}, **ends)
    text = dict(model_type="bart", d_model=64, max_position_embeddings=128, dropout=0.0)
    for half in ("encoder", "decoder"):
        sizes = dict(layers=2, attention_heads=4, ffn_dim=128)
        text |= {f"{half}_{name}": size for name, size in sizes.items()}
    starts = dict(decoder_start_token_id=tokenizer.eos_token_id)
    starts |= dict(forced_bos_token_id=tokenizer.bos_token_id)
    vision = dict(depths=[1] * 4, embed_dim=[16, 32, 48, 64], num_heads=[1, 2, 3, 4])
    vision |= dict(num_groups=[1, 2, 3, 4], window_size=4, projection_dim=64, drop_path_rate=0.0)
    vision |= dict(max_temporal_embeddings=4, max_position_embeddings=16)
    config = dict(
        text_config=text_config(tokenizer, **text, **starts),
        vision_config=vision,
        **ids(tokenizer, image_token_id="<image>"),
    )
    pictures = dict(image_processor_type="CLIPImageProcessor", size=SQUARE)
    pictures |= dict(do_center_crop=False, image_seq_length=5)
    generation = dict(num_beams=3, early_stopping=True, no_repeat_ngram_size=3, **starts)
    return Parts(config, tokenizer, pictures, generation=generation)


def paligemma(kind):
    "Reads what stands before the caption in both directions."
    tokenizer = gemma_tokenizer("", image_token="<image>")
    tokenizer.add_tokens(EXTRA_TOKENS)  # as the processor does
    config = dict(
        text_config=text_config(tokenizer, model_type="gemma", head_dim=16),
        vision_config=dict(VISION, model_type="siglip_vision_model", vision_use_head=False),
        projection_dim=64,
        **ids(tokenizer, image_token_index="<image>"),
    )
    pictures = dict(image_processor_type="SiglipImageProcessor", size=SQUARE, image_seq_length=16)
    return Parts(config, tokenizer, pictures)


KINDS = dict(
    idefics3=smolvlm, smolvlm=smolvlm, qwen2_5_vl=qwen, qwen3_vl=qwen, qwen3_5=qwen,
    gemma3=gemma3, gemma4=gemma4, llava=llava, internvl=internvl, florence2=florence2,
    paligemma=paligemma,
)  # fmt: skip


def make_chat_model(kind, folder, seed=0, wildness=8.0):
    "Write a checkpoint whose captions differ from picture to picture; gives the folder."
    folder, parts = Path(folder), KINDS[kind](kind)
    config = AutoConfig.for_model(kind, **parts.config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForImageTextToText.from_config(config)
        words = model.get_input_embeddings().weight
        for p in model.parameters():
            if p.ndim > 1 and p is not words:
                if not p.any():  # Gemma 3 is blind until it has learned
                    torch.nn.init.normal_(p, std=0.02)
                p.data.mul_(wildness)
    tokenizer = parts.tokenizer
    ends = tokenizer.convert_tokens_to_ids(list(parts.ends or [tokenizer.eos_token]))
    model.generation_config = GenerationConfig(
        eos_token_id=ends if len(ends) > 1 else ends[0],
        bos_token_id=tokenizer.bos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **parts.generation,
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_processor(folder, kind, parts)
    return folder


def write_processor(folder, kind, parts):
    "Its files, by hand: to save a processor it would have to be loaded."
    made_by = {"processor_class": PROCESSOR_MAPPING_NAMES[kind]}
    files = {
        "preprocessor_config.json": parts.pictures | made_by,
        "processor_config.json": parts.options | made_by,
    }
    video = {"video_processor_type": parts.video}
    if kind == "gemma4":  # newer checkpoints have it all in one file
        hears = {"feature_extractor_type": "Gemma4AudioFeatureExtractor"}
        sees = {"image_processor": parts.pictures, "video_processor": video}
        files = {"processor_config.json": parts.options | made_by | sees}
        files["processor_config.json"]["feature_extractor"] = hears
    elif parts.video:
        files["video_preprocessor_config.json"] = video | made_by
    for name, settings in files.items():
        (folder / name).write_text(json.dumps(settings, indent=2), encoding="utf-8")
    if parts.template:
        (folder / "chat_template.jinja").write_text(parts.template, encoding="utf-8")


NEEDED = ["image_processor", "tokenizer"]


def image_only(kind, name):
    "A processor class of that name without its parts for videos and sounds."

    class Fewer(ProcessorMixin):
        def __init__(self, *parts, **named):
            named |= zip(kind.get_attributes(), parts)
            super().__init__(**{name: part for name, part in named.items() if part is not None})

    class ImageOnly(kind, Fewer):
        @classmethod
        def get_attributes(cls):
            return NEEDED

    ImageOnly.__name__ = ImageOnly.__qualname__ = name
    return ImageOnly


def load_processor(folder, kind):
    "The processor of a checkpoint of that kind, where `AutoProcessor` may want torchvision."
    name = PROCESSOR_MAPPING_NAMES[kind]
    # SmolVLM's own wants the package num2words, for videos; pictures are the same to both.
    of = getattr(transformers, "Idefics3Processor" if name == "SmolVLMProcessor" else name)
    attributes, (settings, _) = of.get_attributes(), of.get_processor_dict(folder)
    options = set(inspect.signature(of.__init__).parameters) - {*attributes}
    others = [part for part in attributes if part not in NEEDED]
    return (image_only(of, name) if others or of.__name__ != name else of)(
        image_processor=transformers.AutoImageProcessor.from_pretrained(folder),
        tokenizer=transformers.AutoTokenizer.from_pretrained(folder),
        **{option: settings[option] for option in options if option in settings},
        **dict.fromkeys(others),
    )


def load_chat(folder):
    "A model in evaluation mode and its processor."
    model = AutoModelForImageTextToText.from_pretrained(folder)
    return model.eval(), load_processor(folder, model.config.model_type)
