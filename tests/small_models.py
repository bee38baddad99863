"One small random model of each family, with dropout, so that evaluation mode matters."

import torch
from PIL import Image
from transformers import (
    BlipConfig,
    BlipForConditionalGeneration,
    BlipProcessor,
    GPT2Config,
    VisionEncoderDecoderConfig,
    VisionEncoderDecoderModel,
    VisionTextDualEncoderProcessor,
    ViTConfig,
    ViTImageProcessorPil,
)
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

from imgcap.model import add_ends, new_git_tiny, train_tokenizer

TEXTS = [
    "a red round creature with wings",
    "a blue creature in the sea",
    "two green eyes at night",
] * 5
SMALL = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}
SIZE = {"height": 32, "width": 32}


def git(texts=TEXTS, size=32):
    return new_git_tiny(texts, vision_layers=1, text_layers=1, hidden_size=size, image_size=32)


def blip(texts=TEXTS, size=32):
    small = SMALL | {"hidden_size": size, "intermediate_size": 2 * size}
    tokenizer = train_tokenizer(texts)
    tokenizer.add_special_tokens({"additional_special_tokens": ["[DEC]"]})
    text = small | {
        "vocab_size": len(tokenizer),
        "encoder_hidden_size": size,
        "projection_dim": size,
        "max_position_embeddings": 64,
        "pad_token_id": 0,
        "sep_token_id": 2,
        "eos_token_id": 2,
        "bos_token_id": len(tokenizer) - 1,
    }
    vision = small | {"image_size": 32, "patch_size": 8, "projection_dim": size}
    config = BlipConfig(text_config=text, vision_config=vision, projection_dim=size)
    return BlipForConditionalGeneration(config), BlipProcessor(
        BlipImageProcessorPil(size=SIZE), tokenizer
    )


def encoder_decoder(texts=TEXTS, size=32):
    small = SMALL | {"hidden_size": size, "intermediate_size": 2 * size}
    tokenizer = train_tokenizer(texts)
    tokenizer.backend_tokenizer.post_processor = None
    tokenizer.cls_token = tokenizer.sep_token = tokenizer.pad_token = None
    tokenizer.bos_token = tokenizer.eos_token = "[SEP]"
    add_ends(tokenizer)
    decoder = GPT2Config(
        vocab_size=len(tokenizer),
        n_embd=size,
        n_layer=1,
        n_head=2,
        n_positions=64,
        is_decoder=True,
        add_cross_attention=True,
        bos_token_id=2,
        eos_token_id=2,
    )
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        ViTConfig(**small, image_size=32, patch_size=8), decoder
    )
    model = VisionEncoderDecoderModel(config=config)
    for part in (model.config, model.generation_config):
        part.decoder_start_token_id, part.eos_token_id, part.pad_token_id = 2, 2, 2
    return model, VisionTextDualEncoderProcessor(ViTImageProcessorPil(size=SIZE), tokenizer)


BUILDERS = {"git": git, "blip": blip, "vision-encoder-decoder": encoder_decoder}


def small_model(family, dropout=0.3, wildness=4.0, **options):
    "A model in evaluation mode whose captions differ from picture to picture, and its processor."
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, processor = BUILDERS[family](**options)
    for part in model.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = dropout
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim > 1:
                p.mul_(wildness)
    return model.eval(), processor


def pictures(n=4, side=32):
    "Noise, each another."
    generator = torch.Generator().manual_seed(7)
    noise = torch.randint(0, 256, (n, side, side, 3), dtype=torch.uint8, generator=generator)
    return [Image.fromarray(each.numpy()) for each in noise]


def pixels(processor, n=4):
    return processor.image_processor(images=pictures(n), return_tensors="pt").pixel_values
