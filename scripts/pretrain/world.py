"""A broad drawn world: pictures and plain captions made from `(seed, index)`, to pretrain models.

    picture, captions = draw(seed=0, index=17)        # 64x64 RGB, one or two captions

The captions are lists ("blue round creature, spots, wings, one eye, smiling, snow"), not sentences.
The drawing code and the wording share nothing with `imgcap.data.creatures`; only its constant
`NOVEL_COMBINATIONS` is read, so that no (colour, body) pair kept back there is ever drawn here.
Pillow and the standard library only; one seed and index give the same picture in every process.
"""
import random
from math import cos, hypot, pi, sin

from PIL import Image, ImageChops, ImageDraw

from imgcap.data.creatures import NOVEL_COMBINATIONS

SIZE = 64     # side of the finished picture
W = 128       # side of the canvas it is drawn on, reduced at the end

SCENES = {"creature": .52, "shape": .13, "pair": .11, "count": .08, "thing": .16}   # the mixture

# --- Words ----------------------------------------------------------------------------------------
COLOURS = {
    "red": (214, 42, 40), "orange": (243, 137, 28), "yellow": (248, 216, 42),
    "green": (52, 160, 62), "blue": (44, 98, 212), "purple": (126, 58, 176),
    "pink": (244, 138, 184), "brown": (128, 80, 42), "black": (36, 35, 40),
    "white": (247, 246, 243), "grey": (140, 142, 146), "turquoise": (44, 190, 190),
    "lime": (168, 224, 48), "navy": (26, 36, 98), "beige": (226, 202, 160),
    "maroon": (112, 20, 40),
}
COLOUR_WEIGHTS = [3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 2, 1, 1, 1, 1]
OTHER_WORDS = {
    "grey": ["gray"],
    "turquoise": ["teal"],
    "purple": ["violet"],
    "red": ["scarlet"],
    "yellow": ["golden"],
    "round": ["circular", "ball shaped"],
    "tall": ["slim", "high"],
    "long": ["wide", "stretched"],
    "square": ["boxy"],
    "pear": ["pear shaped"],
    "star": ["star shaped"],
    "fluffy": ["cloud shaped"],
    "triangle": ["pointed", "triangular"],
    "egg": ["egg shaped"],
    "drop": ["drop shaped"],
    "heart": ["heart shaped"],
    "flat": ["low"],
    "creature": ["monster", "animal", "beast", "critter"],
    "small": ["little", "tiny"],
    "big": ["large", "huge"],
    "plain": ["smooth"],
    "spots": ["spotted", "dots", "dotted"],
    "stripes": ["striped", "stripy"],
    "checks": ["checkered", "checked"],
    "patches": ["patched"],
    "rings": ["ringed"],
    "zigzags": ["wavy"],
    "smiling": ["happy", "smile", "glad"],
    "sad": ["unhappy", "frowning"],
    "sleeping": ["asleep", "dozing", "closed eyes"],
    "surprised": ["open mouth", "startled", "shouting"],
    "angry": ["grumpy", "cross", "frown"],
    "calm": ["quiet"],
    "legs": ["feet"],
    "long ears": ["rabbit ears", "big ears"],
    "round ears": ["bear ears"],
    "pointed ears": ["cat ears"],
    "antennae": ["feelers"],
    "fins": ["fin"],
    "spikes": ["spines", "spiky", "sharp spikes"],
    "tail": ["a tail"],
    "wings": ["winged"],
    "horns": ["horned"],
    "snow": ["winter", "snowy"],
    "desert": ["sand", "sandy"],
    "beach": ["shore"],
    "night": ["night sky", "dark sky", "at night"],
    "sea": ["water", "waves", "ocean"],
    "grass": ["meadow", "lawn"],
    "sky": ["clouds", "in the air"],
    "forest": ["trees", "woods"],
    "mountains": ["hills"],
    "cave": ["rocks"],
    "fire": ["lava", "volcano"],
    "underwater": ["under water", "bubbles"],
    "city": ["town", "street"],
    "room": ["indoors", "inside"],
    "rain": ["rainy"],
    "flowers": ["garden"],
    "space": ["stars", "planets"],
    "sunset": ["evening"],
}
NUMBERS = ["no", "one", "two", "three", "four", "five", "six"]

# --- A pen: shapes in the creature's own coordinates, put on the canvas turned, scaled and moved --
CIRCLE = [(cos(2*pi*i/26), sin(2*pi*i/26)) for i in range(26)]
DOT = CIRCLE[::3]


def oval(x, y, rx, ry=None, turn=0.):
    ry = rx if ry is None else ry
    if not turn: return [(x + rx*u, y + ry*v) for u, v in CIRCLE]
    c, s = cos(turn), sin(turn)
    return [(x + rx*u*c - ry*v*s, y + rx*u*s + ry*v*c) for u, v in CIRCLE]


class Pen:
    def __init__(self, picture, x, y, size, turn=0., squeeze=1., line=None, width=2):
        self.picture, self.d, self.size = picture, ImageDraw.Draw(picture), size
        c, s = cos(turn)*size, sin(turn)*size
        self.m = c*squeeze, -s/squeeze, x, s*squeeze, c/squeeze, y
        self.ink, self.width = line, width

    def at(self, points):
        a, b, x, c, d, y = self.m
        return [(a*u + b*v + x, c*u + d*v + y) for u, v in points]

    def fill(self, points, colour, line=True):
        p = self.at(points)
        self.d.polygon(p, fill=colour)
        if line and self.ink: self.trace(p)

    def trace(self, p):
        joint = "curve" if len(p) < 16 else None
        self.d.line(p + p[:2], fill=self.ink, width=self.width, joint=joint)

    def stroke(self, points, colour, width):
        width = max(2, round(width*self.size))
        self.d.line(self.at(points), fill=colour, width=width, joint="curve")

    def outline(self, points):
        if self.ink: self.trace(self.at(points))


def tint(r, name, amount=14):
    f = r.uniform(.9, 1.08)
    return tuple(min(255, max(0, round(c*f + r.uniform(-amount, amount)))) for c in COLOURS[name])


def shade(colour, f):
    "Darker with f < 1, towards white with f > 1."
    if f <= 1: return tuple(round(c*f) for c in colour)
    return tuple(round(c + (255 - c)*(f - 1)) for c in colour)


def far(a, b): return abs(a[0] - b[0]) + abs(a[1] - b[1]) + abs(a[2] - b[2])


# --- Outlines, about 1 in radius ------------------------------------------------------------------
def dense(points, n=3):
    out = []
    for (x, y), (u, v) in zip(points, points[1:] + points[:1]):
        out += [(x + (u - x)*k/n, y + (v - y)*k/n) for k in range(n)]
    return out


def full_turn(n):
    return [2*pi*i/n for i in range(n)]


def upper_half(n):
    "The upper half of a circle, from left to right."
    angles = [pi + pi*i/n for i in range(n + 1)]
    return [(cos(t), sin(t)) for t in angles]


def around(radius, n=30):
    return [(radius(t)*cos(t), radius(t)*sin(t)) for t in full_turn(n)]


def corners(n, turn=-pi/2, r=1.):
    return [(r*cos(turn + 2*pi*i/n), r*sin(turn + 2*pi*i/n)) for i in range(n)]


def box(a, b, power=.35):
    def sign(z): return (z > 0) - (z < 0)
    return [(a*sign(u)*abs(u)**power, b*sign(v)*abs(v)**power) for u, v in CIRCLE]


def star(n=5, inner=.48):
    radii = [inner if i % 2 else 1. for i in range(2*n)]
    return [(k*cos(-pi/2 + pi*i/n), k*sin(-pi/2 + pi*i/n)) for i, k in enumerate(radii)]


def heart():
    def height(t):
        return -.06*(13*cos(t) - 5*cos(2*t) - 2*cos(3*t) - cos(4*t)) - .1
    return [(.95*sin(t)**3, height(t)) for t in full_turn(30)]


def ghost(r):
    top = [(.8*x, -.2 + .8*y) for x, y in upper_half(12)]
    n = r.choice([3, 4])
    return top + [(.8 - 1.6*i/(2*n), .95 if i % 2 == 0 else .72) for i in range(2*n + 1)]


def pear(r):
    k, low = r.uniform(.3, .42), r.uniform(.8, .95)
    return [(u*(low if v > 0 else low*(1 + v*k*1.3)), v) for u, v in CIRCLE]


def fluffy(r):
    n = r.choice([8, 9, 10])
    return around(lambda t: .8 + .2*abs(sin(n*t/2)), 48)


def lumpy(r):
    p, q = r.uniform(0, 6), r.uniform(0, 6)
    return around(lambda t: .88 + .1*sin(2*t + p) + .09*sin(3*t + q))


BODIES = {   # name: outline(r)
    "round": lambda r: oval(0, 0, r.uniform(.86, .98), r.uniform(.86, .98)),
    "tall": lambda r: (oval(0, 0, r.uniform(.5, .64), 1.08) if r.random() < .6 else
                       box(r.uniform(.46, .58), 1.08, .5)),
    "long": lambda r: (oval(0, .1, 1.18, r.uniform(.52, .64)) if r.random() < .6 else
                       box(1.15, r.uniform(.48, .58), .5)),
    "square": lambda r: box(.86, .84, r.uniform(.12, .36)),
    "pear": pear,
    "star": lambda r: dense([(1.1*x, 1.1*y) for x, y in star(5, r.uniform(.54, .64))], 2),
    "triangle": lambda r: dense([(0, -1.05), (1.02, .85), (-1.02, .85)], 8),
    "fluffy": fluffy,
    "egg": lambda r: [(u*(.78 if v > 0 else .78*(1 + .3*v)), v*1.02) for u, v in CIRCLE],
    "drop": lambda r: [(.82*sin(t)*sin(t/2)**1.2, -cos(t)*1.08) for t in full_turn(30)],
    "heart": lambda r: heart(),
    "ghost": lambda r: dense(ghost(r), 2),
    "flat": lambda r: [(1.15*u, .5 + (.35*v if v > 0 else 1.0*v)) for u, v in CIRCLE],
    "diamond": lambda r: dense([(0, -1.1), (.9, 0), (0, 1.1), (-.9, 0)], 7),
    "lumpy": lumpy,
    "hexagon": lambda r: dense(corners(6, 0, .98), 5),
}
BODY_WEIGHTS = [4, 4, 4, 4, 4, 4, 3, 3, 2, 2, 2, 2, 2, 1, 2, 1]

CROSS = [(-.33, -1), (.33, -1), (.33, -.33), (1, -.33), (1, .33), (.33, .33),
         (.33, 1), (-.33, 1), (-.33, .33), (-1, .33), (-1, -.33), (-.33, -.33)]
ARROW = [(-1, -.28), (.1, -.28), (.1, -.75), (1.05, 0), (.1, .75), (.1, .28), (-1, .28)]


def crescent():
    outer = [pi*.3 + 1.4*pi*i/16 for i in range(17)]
    inner = [pi*1.62 - 1.24*pi*i/12 for i in range(13)]
    return [(cos(t), sin(t)) for t in outer] + [(.42 + .78*cos(t), .8*sin(t)) for t in inner]


SHAPES = {   # noun: (plural, outline(r))
    "circle": ("circles", lambda r: CIRCLE),
    "square": ("squares", lambda r: [(-.85, -.85), (.85, -.85), (.85, .85), (-.85, .85)]),
    "triangle": ("triangles", lambda r: [(0, -.95), (.98, .75), (-.98, .75)]),
    "star": ("stars", lambda r: star(r.choice([5, 5, 6]), r.uniform(.4, .5))),
    "heart": ("hearts", lambda r: heart()),
    "diamond": ("diamonds", lambda r: [(0, -1), (.7, 0), (0, 1), (-.7, 0)]),
    "cross": ("crosses", lambda r: CROSS),
    "oval": ("ovals", lambda r: oval(0, 0, 1.05, .6)),
    "rectangle": ("rectangles", lambda r: [(-1.1, -.55), (1.1, -.55), (1.1, .55), (-1.1, .55)]),
    "hexagon": ("hexagons", lambda r: corners(6, 0)),
    "pentagon": ("pentagons", lambda r: corners(5)),
    "arrow": ("arrows", lambda r: ARROW),
    "drop": ("drops", BODIES["drop"]),
    "crescent": ("crescents", lambda r: crescent()),
    "egg": ("eggs", BODIES["egg"]),
    "cloud": ("clouds", lambda r: [(x*1.1, y*.75) for x, y in BODIES["fluffy"](r)]),
    "ring": ("rings", lambda r: CIRCLE),
    "half circle": ("half circles", lambda r: [(x, y + .5) for x, y in upper_half(14)]),
}
SHAPE_WEIGHTS = [3, 3, 3, 3, 2, 2, 1, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1]

# What each outline would be called among the creatures: (colour, that name) must not be kept back
# there.
SAME_BODY = {
    "circle": ["round"],
    "ring": ["round"],
    "oval": ["round", "long", "tall", "oval"],
    "egg": ["egg", "oval", "tall", "round"],
    "rectangle": ["square", "long", "tall"],
    "triangle": ["triangle", "triangular", "pointed"],
    "fluffy": ["fluffy", "cloud"],
    "cloud": ["fluffy", "cloud"],
    "lumpy": ["blob", "round", "lumpy"],
    "pear": ["pear", "pear-shaped", "pear shaped"],
    "star": ["star", "star-shaped", "star shaped"],
    "drop": ["drop", "teardrop", "pear"],
    "half circle": ["flat", "round"],
    "flat": ["flat", "long"],
    "tall": ["tall", "oval"],
    "long": ["long", "oval", "wide"],
    "square": ["square", "boxy"],
    "heart": ["heart", "heart-shaped"],
    "ghost": ["ghost", "bell", "tall"],
    "hexagon": ["hexagon", "round"],
    "pentagon": ["pentagon", "round"],
    "diamond": ["diamond"],
}
SAME_COLOUR = {
    "grey": ["grey", "gray"],
    "turquoise": ["turquoise", "teal", "cyan"],
    "purple": ["purple", "violet"],
    "navy": ["blue", "navy"],
    "lime": ["green", "lime"],
    "maroon": ["red", "maroon"],
    "beige": ["beige", "brown"],
}


def kept_back(colour, body):
    "Whether the creatures keep this colour of this body for their test of new combinations."
    colours = SAME_COLOUR.get(colour, [colour])
    bodies = SAME_BODY.get(body, []) + [body]
    return any((c, b) in NOVEL_COMBINATIONS for c in colours for b in bodies)


def colour_for(r, body, weights=COLOUR_WEIGHTS):
    while True:
        colour = r.choices(COLOUR_NAMES, weights)[0]
        if not kept_back(colour, body): return colour


COLOUR_NAMES = list(COLOURS)

# --- Textures: drawn into a mask, cut out by the outline ------------------------------------------
TEXTURES = ["plain", "spots", "stripes", "checks", "patches", "zigzags", "rings", "stars"]
TEXTURE_WEIGHTS = [7, 5, 5, 3, 2, 1, 1, 1]


def texture(pen, points, name, colour, r):
    p = pen.at(points)
    xs, ys = [x for x, _ in p], [y for _, y in p]
    x0, x1, y0, y1 = min(xs), max(xs), min(ys), max(ys)
    cx, cy, half = (x0 + x1)/2, (y0 + y1)/2, max(x1 - x0, y1 - y0)/2
    mask = Image.new("L", (W, W))
    d = ImageDraw.Draw(mask)
    if name in ("spots", "stars"):
        n = r.choice([3, 4, 4, 5]) if half > 22 else 3
        step = 2*half/n
        for i in range(-1, n + 1):
            for j in range(-1, n + 1):
                x = cx - half + (i + .5 + .5*(j % 2))*step + r.uniform(-.12, .12)*step
                y = cy - half + (j + .5)*step + r.uniform(-.12, .12)*step
                k = step*r.uniform(.22, .36)
                if name == "spots": d.ellipse((x - k, y - k, x + k, y + k), fill=255)
                else: d.polygon([(x + 1.5*k*u, y + 1.5*k*v) for u, v in STAR], fill=255)
    elif name in ("stripes", "zigzags"):
        n = r.choice([3, 4, 5]) if half > 22 else 3
        step, t = 2*half/n, r.choice([0, pi/2, pi/4, -pi/4, r.uniform(-pi/2, pi/2)])
        c, s, wide = cos(t), sin(t), max(3, round(step*r.uniform(.4, .55)))
        for i in range(-n, n + 1):
            o = (i + .25)*step
            if name == "stripes":
                ends = [(cx - s*o - c*90, cy + c*o - s*90), (cx - s*o + c*90, cy + c*o + s*90)]
                d.line(ends, fill=255, width=wide)
            else:
                line = [(k*step*.5, o + (step*.3 if k % 2 else -step*.3)) for k in range(-8, 9)]
                line = [(cx + c*u - s*v, cy + s*u + c*v) for u, v in line]
                d.line(line, fill=255, width=max(3, round(step*.33)))
    elif name == "checks":
        n = r.choice([4, 5, 6]) if half > 22 else 4
        step, t = 2*half/n, r.choice([0, 0, pi/4])
        c, s = cos(t), sin(t)
        for i in range(-n, n):
            for j in range(-n, n):
                if (i + j) % 2 == 0:
                    left, top = i*step, j*step
                    right, low = left + step, top + step
                    q = [(left, top), (right, top), (right, low), (left, low)]
                    d.polygon([(cx + c*u - s*v, cy + s*u + c*v) for u, v in q], fill=255)
    elif name == "patches":
        for i in range(r.choice([3, 4])):
            a, k = 1.8*i + r.uniform(0, 1), half*r.uniform(.3, .42)
            x, y = cx + .68*half*cos(a), cy + .68*half*sin(a)
            d.polygon([(x + k*u*r.uniform(.8, 1.2), y + k*v*r.uniform(.8, 1.2)) for u, v in DOT],
                      fill=255)
    elif name == "rings":
        step = half/r.choice([2.5, 3.2])
        for i in range(4):
            k, wide = (i + .6)*step, max(3, round(step*.45))
            d.ellipse((cx - k, cy - k, cx + k, cy + k), outline=255, width=wide)
    shape = Image.new("L", (W, W))
    ImageDraw.Draw(shape).polygon(p, fill=255)
    pen.picture.paste(colour, (0, 0), ImageChops.darker(mask, shape))


STAR = star()


MARK_COLOURS = ["white", "white", "black", "yellow", "red", "blue", "green",
                "pink", "orange", "purple", "brown", "turquoise", "beige"]


def second_colour(r, first, pattern=""):
    "A colour name that stands out on the first."
    while True:
        name = r.choice(MARK_COLOURS)
        if far(COLOURS[name], COLOURS[first]) > 190 and not kept_back(name, pattern.rstrip("s")):
            return name


# --- Places ---------------------------------------------------------------------------------------
RAMP = Image.linear_gradient("L").resize((W, W))


def wash(picture, top, low, turn=0):
    picture.paste(top, (0, 0, W, W))
    picture.paste(low, (0, 0), RAMP.transpose(turn) if turn is not None and turn > 0 else RAMP)


SKIES = [(150, 205, 245), (190, 225, 250), (120, 185, 240),
         (215, 232, 245), (240, 225, 200), (170, 200, 215)]
BLOSSOMS = [(236, 70, 90), (250, 220, 70), (250, 250, 250), (190, 90, 210), (250, 140, 180)]
PLANETS = [(200, 120, 80), (110, 150, 200), (190, 170, 110), (150, 110, 180)]


def sky_colour(r):
    return r.choice(SKIES)


def jig(r, colour, a=16): return tuple(min(255, max(0, c + r.randint(-a, a))) for c in colour)


def ground(picture, d, r, sky, colour, bumps=2.):
    "A sky and a ground with a slightly uneven edge; returns the height of the edge."
    h = r.randint(44, 96) if r.random() < .85 else r.randint(0, 24)
    wash(picture, jig(r, sky), jig(r, shade(sky, 1.35)))
    if r.random() < .25:
        x, k = r.uniform(0, W), r.uniform(7, 13)
        d.ellipse((x - k, 20 - k, x + k, 20 + k), fill=(255, 244, 170))
    if r.random() < .4:
        for x, y in scatter(r, r.randint(1, 3), 4, h): cloud(d, x, y, r.uniform(4, 8))
    if r.random() < .45:
        t = r.uniform(4, 18)
        hills = [(W*i/8, h - t*(.6 + .4*sin(i*.9 + h))) for i in range(9)]
        d.polygon(hills + [(W, W), (0, W)], fill=shade(colour, r.choice([.85, 1.25])))
    p, k = r.uniform(0, 6), r.uniform(1, 3)
    edge = [(W*i/8, h + bumps*sin(k*i*.7 + p)) for i in range(9)]
    d.polygon(edge + [(W, W), (0, W)], fill=colour)
    return h


def cloud(d, x, y, k):
    for o, f in ((-1.3, .7), (0, 1.), (1.3, .75)):
        d.ellipse((x + o*k - k*f, y - k*f, x + o*k + k*f, y + k*f*.8), fill=(252, 252, 255))


def scatter(r, n, top, low=W): return [(r.uniform(0, W), r.uniform(top, low)) for _ in range(n)]


def grass(picture, d, r):
    c = jig(r, (98, 178, 74), 22)
    h = ground(picture, d, r, sky_colour(r), c)
    dark = shade(c, .78)
    for x, y in scatter(r, r.randint(8, 18), h + 3):
        blades = [(x - 3, y - 6), (x, y), (x + 1, y - 7), (x + 3, y), (x + 6, y - 5)]
        d.line(blades, fill=dark, width=2)
    return c


def snow(picture, d, r):
    c = jig(r, (242, 246, 250), 8)
    h = ground(picture, d, r, r.choice([(150, 180, 210), (185, 205, 225), (120, 140, 175)]), c, 4)
    for x in [r.uniform(0, W) for _ in range(r.choice([0, 0, 1, 2]))]:
        d.polygon([(x - 11, h + 8), (x, h - 26), (x + 11, h + 8)], fill=jig(r, (96, 140, 136)))
    for x, y in scatter(r, r.randint(10, 26), 0, h + 10):
        d.ellipse((x, y, x + 4, y + 4), fill=(255, 255, 255))
    for x, y in scatter(r, 4, h + 6):
        d.arc((x - 12, y, x + 12, y + 8), 200, 340, fill=shade(c, .88), width=2)
    return c


def desert(picture, d, r):
    c = jig(r, (232, 204, 132), 14)
    h = ground(picture, d, r, r.choice([(150, 210, 245), (250, 215, 160), (200, 225, 240)]), c, 5)
    for x, y in scatter(r, 7, h + 5):
        d.arc((x - 14, y, x + 14, y + 9), 190, 350, fill=shade(c, .84), width=2)
    for x, y in scatter(r, 12, h + 5): d.point((x, y), fill=shade(c, .7))
    if r.random() < .5:
        x = r.choice([r.randint(6, 24), r.randint(100, 122)])
        g = (70, 140, 80)
        d.line([(x, h - 22), (x, h + 8)], fill=g, width=7)
        d.line([(x - 9, h - 14), (x - 9, h - 6), (x, h - 6)], fill=g, width=4)
        d.line([(x + 9, h - 18), (x + 9, h - 9), (x, h - 9)], fill=g, width=4)
    return c


def beach(picture, d, r):
    c = jig(r, (240, 216, 152), 10)
    h = ground(picture, d, r, (150, 210, 248), c, 3)
    low = min(h + 4, 118)
    d.rectangle((0, low - 26, W, low), fill=jig(r, (50, 130, 200)))
    foam = [(x, low + (2 if x//12 % 2 else -2)) for x in range(0, W + 12, 12)]
    d.line(foam, fill=(250, 250, 250), width=5)
    return c


def night(picture, d, r):
    c = jig(r, (22, 26, 70), 10)
    wash(picture, c, jig(r, (44, 48, 110), 10))
    for x, y in scatter(r, r.randint(14, 30), 0):
        k = r.choice([1, 1, 2])
        d.ellipse((x - k, y - k, x + k, y + k), fill=(250, 246, 200))
    if r.random() < .6:
        x, y = r.choice([16, 110]), r.randint(12, 26)
        d.ellipse((x - 10, y - 10, x + 10, y + 10), fill=(250, 240, 190))
        d.ellipse((x - 5, y - 13, x + 13, y + 7), fill=c)
    if r.random() < .4: d.rectangle((0, r.randint(98, 112), W, W), fill=(24, 44, 40))
    return c


def sea(picture, d, r):
    c = jig(r, (40, 120, 200), 18)
    h = ground(picture, d, r, sky_colour(r), c)
    for y in range(int(h) + 5, W, r.choice([9, 11, 14])):
        o = r.randint(0, 16)
        wave = [(x + o, y + (3 if x//8 % 2 else 0)) for x in range(-16, W + 8, 8)]
        d.line(wave, fill=shade(c, 1.4), width=2)
    return c


def sky(picture, d, r):
    c = jig(r, (120, 190, 245), 16)
    wash(picture, c, shade(c, 1.5))
    for x, y in scatter(r, r.randint(3, 5), 4, 124): cloud(d, x, y, r.uniform(6, 11))
    return c


def forest(picture, d, r):
    c = jig(r, (76, 130, 66), 14)
    h = ground(picture, d, r, r.choice([(190, 220, 200), (160, 205, 225), (215, 230, 200)]), c)
    pine = r.random() < .6
    for i in range(r.randint(5, 8)):
        x, k, g = r.uniform(0, W), r.uniform(.8, 1.3), jig(r, (32, 96, 52), 14)
        d.rectangle((x - 3, h - 12, x + 3, h + 5), fill=(104, 70, 40))
        if pine:
            for o in (0, 11, 22):
                wide, low = 13*k - o*.2, h - (8 + o)*k
                d.polygon([(x, h - (34 + o)*k), (x + wide, low), (x - wide, low)], fill=g)
        else: d.ellipse((x - 14*k, h - 44*k, x + 14*k, h - 10*k), fill=g)
    return c


def mountains(picture, d, r):
    c = jig(r, (150, 176, 120), 14)
    h = ground(picture, d, r, sky_colour(r), c)
    h = max(h, 40)
    for x in r.sample([10, 38, 64, 92, 118], 3):
        k, t, g = r.uniform(24, 38), r.uniform(34, 56), jig(r, (116, 110, 126), 14)
        d.polygon([(x - k, h + 3), (x, h - t), (x + k, h + 3)], fill=g)
        d.polygon([(x - k*.3, h - t*.7), (x, h - t), (x + k*.3, h - t*.7)], fill=(250, 250, 252))
    return c


def cave(picture, d, r):
    c = jig(r, (74, 66, 70), 10)
    picture.paste(c, (0, 0, W, W))
    g = shade(c, .6)
    x = r.randint(-6, 4)
    while x < W:
        k = r.randint(12, 22)
        t = r.randint(10, 34)
        d.polygon([(x, 0), (x + k, 0), (x + k/2, t)], fill=g)
        if r.random() < .7: d.polygon([(x, W), (x + k, W), (x + k/2, W - t*.7)], fill=g)
        x += k
    for x, y in scatter(r, 6, 30, 120): d.ellipse((x - 5, y - 3, x + 5, y + 3), fill=shade(c, .8))
    return c


def fire(picture, d, r):
    c = jig(r, (92, 32, 30), 10)
    wash(picture, c, (170, 60, 30))
    h = r.randint(84, 104)
    for colour, o in (((236, 96, 30), 0), ((252, 196, 56), 14)):
        x = -8
        while x < W:
            k = r.randint(12, 20)
            foot, tip = h + o + 8, h + o - r.randint(6, 22)
            d.polygon([(x - 4, W), (x, foot), (x + k/2, tip), (x + k, foot), (x + k + 4, W)],
                      fill=colour)
            x += k
    for x, y in scatter(r, 8, 0, h): d.ellipse((x, y, x + 3, y + 3), fill=(255, 190, 70))
    return c


def underwater(picture, d, r):
    c = jig(r, (40, 140, 176), 16)
    wash(picture, shade(c, 1.3), shade(c, .6))
    for x, y in scatter(r, r.randint(8, 14), 0):
        k = r.uniform(2, 6)
        d.ellipse((x - k, y - k, x + k, y + k), outline=(214, 242, 250), width=2)
    for i in range(r.randint(2, 4)):
        x = r.uniform(0, W)
        weed = [(x + 5*sin(j*1.2), W - j*8) for j in range(r.randint(3, 6))]
        d.line(weed, fill=(40, 120, 70), width=5)
    return c


def city(picture, d, r):
    c = jig(r, (120, 122, 128), 12)
    h = ground(picture, d, r, r.choice([(180, 210, 235), (240, 205, 170), (200, 205, 215)]), c, 0)
    h = max(h, 50)
    x = r.randint(-8, 0)
    while x < W:
        k, t, g = r.randint(16, 26), r.randint(28, 62), jig(r, (112, 100, 116), 26)
        d.rectangle((x, h - t, x + k, h), fill=g)
        for u in range(x + 4, x + k - 4, 7):
            for v in range(h - t + 5, h - 5, 10):
                d.rectangle((u, v, u + 3, v + 4), fill=(250, 230, 140))
        x += k + r.randint(0, 4)
    return c


def room(picture, d, r):
    c = jig(r, r.choice([(236, 222, 190), (200, 222, 214), (232, 200, 196), (206, 206, 232)]), 10)
    picture.paste(c, (0, 0, W, W))
    h = r.randint(86, 106)
    d.rectangle((0, h, W, W), fill=jig(r, (164, 112, 70), 14))
    d.line((0, h, W, h), fill=(250, 250, 250), width=5)
    x = r.choice([6, 84])
    d.rectangle((x, 12, x + 36, 44), fill=(170, 216, 250), outline=(110, 80, 56), width=4)
    d.line((x + 18, 12, x + 18, 44), fill=(110, 80, 56), width=3)
    d.line((x, 28, x + 36, 28), fill=(110, 80, 56), width=3)
    return c


def rain(picture, d, r):
    c = jig(r, (138, 152, 170), 12)
    wash(picture, shade(c, .8), shade(c, 1.2))
    o = r.uniform(-4, 4)
    for x, y in scatter(r, r.randint(24, 40), -4):
        d.line((x, y, x + o, y + 11), fill=(80, 130, 220), width=2)
    return c


def flowers(picture, d, r):
    c = jig(r, (116, 186, 84), 14)
    h = ground(picture, d, r, sky_colour(r), c)
    for x, y in scatter(r, r.randint(12, 20), h + 2):
        g = r.choice(BLOSSOMS)
        d.line((x, y, x, y + 8), fill=(50, 120, 50), width=2)
        d.ellipse((x - 4, y - 4, x + 4, y + 4), fill=g)
        d.point((x, y), fill=(120, 70, 20))
    return c


def space(picture, d, r):
    c = jig(r, (14, 12, 26), 8)
    picture.paste(c, (0, 0, W, W))
    for x, y in scatter(r, r.randint(20, 36), 0):
        d.ellipse((x, y, x + 2, y + 2), fill=(240, 240, 250))
    x, y, k = r.choice([14, 112]), r.choice([16, 110]), r.randint(11, 17)
    d.ellipse((x - k, y - k, x + k, y + k), fill=jig(r, r.choice(PLANETS)))
    if r.random() < .6: d.line((x - k*1.6, y + 5, x + k*1.6, y - 5), fill=(220, 205, 180), width=3)
    return c


def sunset(picture, d, r):
    wash(picture, jig(r, (232, 96, 90)), jig(r, (252, 200, 110)))
    h = r.randint(70, 100)
    x = r.randint(24, 104)
    d.ellipse((x - 18, h - 18, x + 18, h + 18), fill=(255, 236, 150))
    d.rectangle((0, h, W, W), fill=jig(r, r.choice([(96, 60, 90), (70, 70, 110), (84, 70, 50)])))
    return (240, 150, 100)


PLACES = {f.__name__: f for f in (
    grass, snow, desert, beach, night, sea, sky, forest, mountains,
    cave, fire, underwater, city, room, rain, flowers, space, sunset)}
PLACE_WEIGHTS = [4, 4, 4, 2, 4, 4, 3, 4, 2, 3, 2, 2, 2, 2, 1, 1, 2, 1]
PLAIN_BACKGROUNDS = ["white", "white", "grey", "beige", "pink", "blue", "green", "yellow",
                     "black", "navy", "purple", "orange", "turquoise", "red"]


def background(picture, r, plain=.25):
    "Draw a place (or a plain colour); its caption, and a colour for contrast."
    if r.random() >= plain:
        name = r.choices(list(PLACES), PLACE_WEIGHTS)[0]
        return name, PLACES[name](picture, ImageDraw.Draw(picture), r)
    name = r.choice(PLAIN_BACKGROUNDS)
    c = tint(r, name)
    if name not in ("white", "black", "navy") and r.random() < .7: c = shade(c, r.uniform(1.2, 1.6))
    if r.random() < .35: wash(picture, c, shade(c, r.choice([.7, 1.4])), r.choice([0, 1, 2]))
    else: picture.paste(c, (0, 0, W, W))
    return f"{name} background", c


def pen_for(picture, r, x, y, size, fill, behind, turn=.12, squeeze=.08):
    "A pen with some line colour; always a line where the fill would vanish into what lies behind."
    width = r.choice([2, 2, 3, 4])
    line = r.choice([(30, 26, 30), (30, 26, 30), shade(fill, .5), shade(fill, .5), None, None])
    if far(fill, behind) < 150 or (line is None and far(fill, behind) < 220):
        line = (30, 26, 30) if sum(fill) > 200 else (225, 225, 225)
    turn, squeeze = r.uniform(-turn, turn), 1 + r.uniform(-squeeze, squeeze)
    return Pen(picture, x, y, size, turn, squeeze, line, width)


# --- Creatures ------------------------------------------------------------------------------------
def edge(points, angle):
    "Where the outline lies in this direction."
    c, s = cos(angle), sin(angle)
    return max(points, key=lambda p: (p[0]*c + p[1]*s)/(hypot(*p) + 1e-6))


def mirror(points): return [(-x, y) for x, y in points]


def wings(pen, body, c, r):
    x, y = edge(body, .1)[0]*.75, r.uniform(-.25, .05)
    k, kind = r.uniform(.85, 1.1), r.randrange(4)
    if kind == 0: p = oval(x + .5*k, y - .25*k, .62*k, .3*k, -.55)
    elif kind == 1:
        p = [(x, y), (x + .35*k, y - .75*k), (x + 1.05*k, y - .7*k), (x + .8*k, y - .35*k),
             (x + .95*k, y), (x + .6*k, y + .0), (x + .55*k, y + .3*k), (x, y + .25)]
    elif kind == 2: p = oval(x + .42*k, y - .3*k, .5*k, .42*k, -.3)
    else:
        p = [(x, y + .2), (x + .2*k, y - .5*k), (x + 1.05*k, y - .85*k), (x + 1.0*k, y - .45*k),
             (x + .8*k, y - .4*k), (x + .8*k, y - .05*k), (x + .5*k, y + .0), (x + .4*k, y + .3*k)]
    for q in (p, mirror(p)):
        pen.fill(q, c)
        if kind == 2: pen.fill([(u, v + .55*k) for u, v in [(a*.8, b*.8) for a, b in q]], c)


def horns(pen, body, c, r):
    a, k, kind = r.uniform(.45, .65), r.uniform(.4, .62), r.randrange(3)
    x, y = edge(body, -pi/2 + a)
    y += .12
    if kind == 0: p = [(x - .17, y), (x + .17, y + .06), (x + .12 + .15*k, y - k)]
    elif kind == 1:
        p = [(x - .15, y), (x + .02, y - .45*k), (x + .35*k, y - .55*k), (x + .45*k, y - 1.1*k),
             (x + .7*k, y - .5*k), (x + .45*k, y - .1*k), (x + .18, y + .1)]
    else: p = [(x - .13, y), (x - .05 - .2*k, y - .9*k), (x + .12, y - .55*k), (x + .2, y + .06)]
    for q in (p, mirror(p)): pen.fill(q, c)


def one_horn(pen, body, c, r):
    x, y = edge(body, -pi/2)
    k = r.uniform(.5, .75)
    pen.fill([(-.16, y + .12), (.16, y + .12), (r.uniform(-.08, .08), y - k)], c)


def ears(kind):
    def drawn(pen, body, c, r):
        x, y = edge(body, -pi/2 + r.uniform(.4, .6))
        k = r.uniform(.85, 1.15)
        inside = shade(c, 1.55)
        if kind == "long":
            p = oval(x + .08, y - .42*k, .17, .6*k, .15)
            q = oval(x + .08, y - .42*k, .08, .4*k, .15)
        elif kind == "round": p, q = oval(x + .05, y - .08, .32*k), oval(x + .05, y - .08, .17*k)
        else:
            p = [(x - .28, y), (x + .1, y - .62*k), (x + .3, y + .2)]
            q = [(x - .1, y - .02), (x + .09, y - .38*k), (x + .17, y + .1)]
        for u in (p, mirror(p)): pen.fill(u, c)
        for u in (q, mirror(q)): pen.fill(u, inside, line=False)
    return drawn


def spikes(pen, body, c, r):
    k, spread, n = r.uniform(.28, .4), r.choice([1.1, 1.6]), r.choice([5, 6, 7])
    for i in range(n):
        a = -pi/2 + spread*(2*i/(n - 1) - 1)
        x, y = edge(body, a)
        u, v = cos(a), sin(a)
        w = spread/n*.95
        pen.fill([(x*.94 - v*w, y*.94 + u*w), (x + u*k, y + v*k), (x*.94 + v*w, y*.94 - u*w)], c)


def tail(pen, body, c, r):
    x, y = edge(body, .55)
    s, kind, k = r.choice([-1, 1]), r.randrange(4), r.uniform(.9, 1.15)
    x *= .85
    if kind == 0: p = [(x + .1*i*k, y - .12*i*k + .25*sin(i*.9)) for i in range(7)]
    elif kind == 1:
        p = [(x + .3*k + .3*k*sin(i*.75), y - .05 - .3*k*(1 - cos(i*.75)) + .1*k)
             for i in range(-2, 6)]
    else: p = [(x, y), (x + .3*k, y + .05), (x + .58*k, y - .15*k), (x + .66*k, y - .5*k)]
    p = [(s*u, v) for u, v in p]
    if pen.ink: pen.stroke(p, pen.ink, .2 + 2*pen.width/pen.size)
    pen.stroke(p, c, .2)
    u, v = p[-1]
    if kind == 2: pen.fill([(u - .2, v + .05), (u, v - .32), (u + .2, v + .05)], c)
    elif kind != 1: pen.fill(oval(u, v, .17), c)


def legs(pen, body, c, r):
    y, n, k = edge(body, pi/2)[1] - .3, r.choice([2, 2, 2, 3, 4]), r.uniform(.5, .75)
    wide = min(.75, edge(body, 1.0)[0]*1.25)
    foot, dark = r.random() < .6, shade(c, .8)
    for i in range(n):
        x = wide*(2*i/(n - 1) - 1)
        pen.fill([(x - .12, y), (x + .12, y), (x + .12, y + k), (x - .12, y + k)], dark)
        if foot: pen.fill(oval(x + (.06 if x > 0 else -.06), y + k, .22, .12), dark)


def arms(pen, body, c, r):
    x, y = edge(body, .15)
    x, y, up = x*.9, y + .1, r.choice([-.55, .35, .5])
    for s in (-1, 1):
        v = up if r.random() < .8 else -up
        p = [(s*x, y), (s*(x + .28), y + v*.4), (s*(x + .5), y + v)]
        if pen.ink: pen.stroke(p, pen.ink, .16 + 2*pen.width/pen.size)
        pen.stroke(p, c, .16)
        pen.fill(oval(*p[-1], .13), c)


def fins(pen, body, c, r):
    x, y = edge(body, 0.1)
    x *= .9
    p = [(x, y - .25), (x + .55, y - .15), (x + .45, y + .1), (x + .6, y + .3), (x, y + .3)]
    for q in (p, mirror(p)): pen.fill(q, c)
    u, v = edge(body, -pi/2)
    pen.fill([(-.3, v + .2), (.05, v - .45), (.35, v + .2)], c)


def antennae(pen, body, c, r):
    x, y = edge(body, -pi/2 + .3)
    k, s = r.uniform(.45, .65), r.uniform(.1, .35)
    ink = pen.ink or shade(c, .5)
    for f in (-1, 1):
        elbow, tip = (f*(x*.8 + .3*s), y - .5*k), (f*(x*.8 + s), y - k)
        pen.stroke([(f*x*.8, y + .15), elbow, tip], ink, .08)
        pen.fill(oval(f*(x*.8 + s), y - k, .14), c)


def hat(pen, body, c, r):
    y, kind = edge(body, -pi/2)[1] + .14, r.randrange(3)
    if kind == 0:
        pen.fill([(-.32, y - .62), (.32, y - .62), (.34, y), (-.34, y)], c)
        pen.fill(oval(0, y, .62, .11), c)
        band = [(-.33, y - .22), (.33, y - .22), (.34, y - .09), (-.34, y - .09)]
        pen.fill(band, shade(c, .5 if sum(c) > 250 else 1.6), line=False)
    elif kind == 1:
        pen.fill([(-.45, y + .05), (r.uniform(-.15, .15), y - .85), (.45, y + .05)], c)
        pen.fill(oval(0, y + .04, .55, .11), c)
    else:
        pen.fill([(.48*u, y + .05 + .5*min(v, 0)) for u, v in CIRCLE], c)
        pen.fill([(.1, y + .06), (.1, y - .06), (.85, y - .02), (.85, y + .08)], c)


def crown(pen, body, c, r):
    y = edge(body, -pi/2)[1] + .14
    rim = [(-.46, y), (-.52, y - .52), (-.24, y - .24), (0, y - .6),
           (.24, y - .24), (.52, y - .52), (.46, y)]
    pen.fill(rim, (250, 206, 50))
    pen.fill(oval(0, y - .14, .08), (220, 40, 60), line=False)


def leaf(pen, body, c, r):
    y, s = edge(body, -pi/2)[1] + .05, r.choice([-1, 1])
    pen.stroke([(0, y), (s*.04, y - .28)], (60, 120, 50), .08)
    pen.fill(oval(s*.26, y - .38, .32, .16, -s*.5), (86, 178, 70))


def hair(pen, body, c, r):
    y = edge(body, -pi/2)[1] + .1
    g = r.choice([(90, 50, 24), (30, 26, 30), (236, 170, 50), (220, 80, 40)])
    for i in range(5):
        a = -pi/2 + .42*(i - 2)
        pen.stroke([(.12*(i - 2), y), (.12*(i - 2) + .42*cos(a), y + .42*sin(a))], g, .11)


def bow(pen, body, c, r):
    x, y = edge(body, -pi/2 + r.choice([-.5, .5]))
    g = r.choice([(230, 50, 90), (250, 130, 190), (60, 110, 230)])
    for s in (-1, 1): pen.fill([(x, y), (x + s*.38, y - .24), (x + s*.38, y + .24)], g)
    pen.fill(oval(x, y, .11), g)


def scarf(pen, body, c, r):
    g = r.choice([(220, 40, 50), (40, 90, 210), (40, 150, 70)])
    a, y = edge(body, .5), .5
    x = min(a[0], .95)
    pen.fill([(-x, y - .12), (x, y - .12), (x, y + .14), (-x, y + .14)], g)
    pen.fill([(x*.3, y + .1), (x*.3 + .26, y + .1), (x*.3 + .3, y + .62), (x*.3, y + .62)], g)


BEHIND = {
    "wings": wings, "horns": horns, "one horn": one_horn,
    "long ears": ears("long"), "round ears": ears("round"), "pointed ears": ears("pointed"),
    "spikes": spikes, "tail": tail, "legs": legs, "arms": arms, "fins": fins, "antennae": antennae,
}
BEFORE = {"hat": hat, "crown": crown, "leaf": leaf, "hair": hair, "bow": bow, "scarf": scarf}
ON_HEAD = {"horns", "one horn", "long ears", "round ears", "pointed ears", "spikes", "antennae",
           "hat", "crown", "leaf", "hair", "bow"}
AT_SIDE = {"wings", "arms", "fins"}
PARTS = list(BEHIND) + list(BEFORE)
PART_WEIGHTS = [6, 6, 2, 4, 2, 2, 5, 5, 4, 2, 3, 4, 3, 2, 2, 1, 1, 1]

FACES = ["smiling", "sad", "sleeping", "surprised", "angry", "calm", "tongue", "teeth"]
FACE_WEIGHTS = [5, 4, 5, 4, 3, 2, 1, 2]


def face(pen, r, eyes, mood, skin, body):
    if edge(body, 0)[0] > 1.05 and r.random() < .5:   # a long one looks to a side
        a, b, x, c, d, y = pen.m
        o = r.choice([-1, 1])*r.uniform(.2, .5)
        pen.m = a, b, x + a*o, c, d, y + c*o
    light = sum(skin) > 250
    dark = (24, 20, 26) if light else (250, 250, 250)
    wide = min(edge(body, 0)[0], 1.)
    f = {True: .8, False: 1.}[wide < .62]*r.uniform(.88, 1.15)
    up = r.uniform(-.32, -.1)
    gap, k = r.uniform(.3, .4)*f, r.uniform(.15, .23)*f
    if eyes == 1: xs, k = [0], k*1.45
    elif eyes == 2: xs = [-gap, gap]
    else: xs, k = [-gap*1.35, 0, gap*1.35], k*.85
    wide_eyed = mood == "surprised" and r.random() < .7
    if wide_eyed: k *= 1.2
    style, look = r.randrange(3) if not wide_eyed else 1, (r.uniform(-.3, .3), r.uniform(-.3, .3))
    for i, x in enumerate(xs):
        y = up - (.12 if eyes == 3 and i == 1 else 0)
        if mood == "sleeping":
            lid = [(x + k*cos(t)*1.1, y + k*.8*sin(t)) for t in (pi*j/6 for j in range(7))]
            pen.stroke(lid, dark, .075)
        elif style == 0 and light:
            pen.fill(oval(x, y, k*.72, k*.85), dark, line=False)
            pen.fill(oval(x + k*.2, y - k*.3, k*.22), (255, 255, 255), line=False)
        else:
            pen.fill(oval(x, y, k), (252, 252, 252))
            if not pen.ink: pen.outline(oval(x, y, k))
            pupil = oval(x + look[0]*k, y + look[1]*k, k*(.32 if wide_eyed else .5))
            pen.fill(pupil, (24, 20, 26), line=False)
        if mood == "angry":
            s = -1 if x < 0 else 1 if x > 0 else 0
            left = y - k*(1.1 + .5*(s < 0)) + (k*.3 if s > 0 else 0)
            right = y - k*(1.1 + .5*(s > 0)) + (k*.3 if s < 0 else 0)
            pen.stroke([(x - k*1.1, left), (x + k*1.1, right)], dark, .08)
    y, m = up + r.uniform(.42, .52)*f, r.uniform(.22, .32)*f
    def curve(bend):
        return [(m*u, y + bend*m*(1 - u*u)) for u in (-1, -.66, -.33, 0, .33, .66, 1)]
    if mood == "smiling":
        if r.random() < .55: pen.stroke(curve(.75), dark, .075)
        else:
            pen.fill(curve(.95), (110, 24, 34), line=False)
            pen.stroke(curve(.95), dark, .05)
    elif mood == "angry" and r.random() < .35:
        snarl = [(-m*.7, y + .02), (m*.7, y - .02), (m*.8, y + .15*f), (-m*.8, y + .18*f)]
        pen.fill(snarl, (255, 255, 255))
        pen.stroke([(0, y), (0, y + .15*f)], dark, .04)
    elif mood in ("sad", "angry"): pen.stroke([(x, v + .12) for x, v in curve(-.75)], dark, .075)
    elif mood == "sleeping":
        if r.random() < .6: pen.stroke(curve(0 if r.random() < .5 else .3)[2:5], dark, .06)
        if r.random() < .4:
            side = r.choice([-1, 1])
            for i, z in enumerate((.13, .18)):
                u, v = (.62 + .3*i)*side, -1.0 - .3*i
                pen.stroke([(u, v), (u + z, v), (u, v + z), (u + z, v + z)], dark, .06)
    elif mood == "surprised":
        pen.fill(oval(0, y + .1*f, m*r.uniform(.55, .85), m*r.uniform(.6, 1.)), (100, 20, 34))
        pen.outline(oval(0, y, .01))
    elif mood == "calm": pen.stroke([(-m, y), (m, y)], dark, .07)
    elif mood == "tongue":
        pen.fill(oval(.05, y + .14, m*.42, m*.6), (240, 100, 130))
        pen.stroke(curve(.4), dark, .075)
    elif mood == "teeth":
        mouth = [(-m*1.1, y - .05), (m*1.1, y - .05), (m*.9, y + .2*f), (-m*.9, y + .2*f)]
        pen.fill(mouth, (90, 16, 30), line=False)
        for u in (-.7, -.2, .3):
            tooth = [(m*u, y - .05), (m*(u + .45), y - .05), (m*(u + .22), y + .13*f)]
            pen.fill(tooth, (255, 255, 255), line=False)


def creature(picture, r):
    place, behind = background(picture, r, .2)
    body = r.choices(list(BODIES), BODY_WEIGHTS)[0]
    colour = colour_for(r, body)
    pattern = r.choices(TEXTURES, TEXTURE_WEIGHTS)[0]
    mood = r.choices(FACES, FACE_WEIGHTS)[0]
    eyes = r.choices([1, 2, 3], [2, 6, 2])[0]
    parts, free = [], {"head": True, "side": True}
    for _ in range(r.choices([0, 1, 2, 3], [2, 5, 4, 2])[0]):
        p = r.choices(PARTS, PART_WEIGHTS)[0]
        slot = "head" if p in ON_HEAD else "side" if p in AT_SIDE else p
        if free.get(slot, True):
            parts.append(p)
            free[slot] = False
    parts.sort(key=PARTS.index)
    skin = tint(r, colour)
    size = W*r.uniform(.25, .41)
    if size > 42 and len(parts) > 1: size *= .85
    low = .12 if not free["head"] else 0.
    x, y = W*(.5 + r.uniform(-.13, .13)), W*(.5 + low + r.uniform(-.08, .1))
    pen = pen_for(picture, r, x, y, size, skin, behind)
    outline = BODIES[body](r)
    if r.random() < .3 and place in ("grass", "snow", "desert", "room", "beach", "forest"):
        pen.fill(oval(.05, 1.1, .9, .16), shade(behind, .75), line=False)
    if r.random() < .4:
        limb = skin
    elif r.random() < .5:
        limb = shade(skin, r.choice([.7, 1.3]))
    else:
        limb = tint(r, second_colour(r, colour))
    for p in parts:
        if p in BEHIND:
            like_skin = p in ("legs", "arms", "tail") and r.random() < .7
            BEHIND[p](pen, outline, skin if like_skin else limb, r)
    if "legs" not in parts and r.random() < .3:   # unmentioned: small feet
        y, x = edge(outline, pi/2)[1] - .06, edge(outline, 1.1)[0]*.8
        for s in (-1, 1): pen.fill(oval(s*x, y, .2, .13), shade(skin, .7))
    pen.fill(outline, skin)
    if pattern != "plain":
        mark = second_colour(r, colour, pattern)
        m = tint(r, mark)
        if pattern != "stars" and r.random() < .45:
            lights = [.6] if sum(skin) >= 600 else [.6, 1.55] if sum(skin) > 260 else [1.5]
            m = shade(skin, r.choice(lights))
        texture(pen, outline, pattern, m, r)
        pen.outline(outline)
        if r.random() < .75 or far(m, skin) > 300:   # a calm patch under the face
            calm = oval(0, 0, .6, .42) if body in ("long", "flat") else oval(0, 0, .56, .5)
            pen.fill(calm, skin, line=False)
    elif r.random() < .3: pen.fill(oval(0, .5, .42, .34), shade(skin, 1.4), line=False)
    for p in parts:
        if p in BEFORE: BEFORE[p](pen, outline, limb, r)
    if r.random() < .25:   # a gleam
        pen.fill(oval(-.4, -.55, .16, .08, -.6), shade(skin, 1.7), line=False)
    face(pen, r, eyes, mood, skin, outline)
    if r.random() < .25:
        for s in (-1, 1):   # cheeks
            pen.fill(oval(s*.55, .12, .12, .08), (250, 140, 150), line=False)

    eyes = f"{NUMBERS[eyes]} eye{'s' if eyes > 1 else ''}"
    words = [pattern, *parts, eyes, mood, place]
    full = ", ".join([f"{colour} {body} creature"] + words)
    return [full, retell(r, colour, body, "creature", words)]


def other(r, word):
    return r.choice(OTHER_WORDS[word]) if word in OTHER_WORDS and r.random() < .4 else word


def retell(r, colour, body, noun, words):
    "The same list in another order, with other words, and perhaps shorter."
    keep = [other(r, w) for w in words if r.random() < .8]
    r.shuffle(keep)
    head = " ".join([other(r, colour), other(r, body), other(r, noun)])
    if r.random() < .15: head = f"{body} {noun}, {colour}"
    keep.insert(r.randint(0, len(keep)) if r.random() < .4 else 0, head)
    return ", ".join(keep)


# --- Shapes ---------------------------------------------------------------------------------------
def put_shape(pen, r, name, skin, pattern="plain", mark=None):
    outline = SHAPES[name][1](r)
    pen.fill(outline, skin)
    if pattern != "plain": texture(pen, outline, pattern, mark, r)
    if name == "ring": pen.fill([(.5*x, .5*y) for x, y in CIRCLE], pen.hole, line=True)
    pen.outline(outline)


def pick_shape(r):
    name = r.choices(list(SHAPES), SHAPE_WEIGHTS)[0]
    return name, colour_for(r, name)


def shape(picture, r):
    place, behind = background(picture, r, .4)
    name, colour = pick_shape(r)
    skin = tint(r, colour)
    sizes = [("small", r.uniform(.13, .18)), ("", r.uniform(.22, .28)),
             ("big", r.uniform(.33, .42))]
    size, radius = r.choice(sizes)
    radius *= W
    slack = W/2 - radius*.9
    x, y = W/2 + r.uniform(-slack, slack)*.8, W/2 + r.uniform(-slack, slack)*.8
    pen = pen_for(picture, r, x, y, radius, skin, behind, .25)
    pen.hole = behind
    pattern = r.choices(TEXTURES, TEXTURE_WEIGHTS)[0] if name != "ring" else "plain"
    mark = second_colour(r, colour, pattern)
    put_shape(pen, r, name, skin, pattern, tint(r, mark))
    marks = "plain" if pattern == "plain" else f"{mark} {pattern}"
    full = ", ".join([" ".join(filter(None, [size, colour, name])), marks, place])
    rest = [other(r, pattern), other(r, place)]
    r.shuffle(rest)
    some = rest[:r.choice([1, 2])]
    head = " ".join(filter(None, [other(r, colour), name, size and other(r, size)]))
    return [full, ", ".join([*some, head])]


def some_thing(r):
    "A shape or an everyday thing: (colour, name, draw(pen))."
    if r.random() < .6:
        name, colour = pick_shape(r)
        skin = tint(r, colour)
        return colour, name, skin, lambda pen: put_shape(pen, r, name, skin)
    name, drawn, colours = r.choice(THINGS)
    colour = r.choice(colours)
    skin = tint(r, colour)
    return colour, name, skin, lambda pen: drawn(pen, skin, r)


def pair(picture, r):
    place, behind = background(picture, r, .5)
    a, b = some_thing(r), some_thing(r)
    while b[:2] == a[:2]: b = some_thing(r)
    across, k = r.random() < .5, W*r.uniform(.15, .2)
    o, u, v = W*r.uniform(.21, .26), W*r.uniform(-.06, .06), W*r.uniform(-.05, .05)
    for s, (colour, name, skin, drawn) in ((-1, a), (1, b)):
        x, y = (s*o, u*s + v) if across else (u*s + v, s*o)
        pen = pen_for(picture, r, W/2 + x, W/2 + y, k*r.uniform(.9, 1.1), skin, behind)
        pen.hole = behind
        drawn(pen)
    first, second = f"{a[0]} {a[1]}", f"{b[0]} {b[1]}"
    if across:
        there, back = "left of", "right of"
    else:
        there = r.choice(["above", "above", "over"])
        back = r.choice(["below", "below", "under"])
    if r.random() < .5: first, second, there, back = second, first, back, there
    where = f", {other(r, place)}" if r.random() < .5 else ""
    return [f"{first} {there} {second}, {place}", f"{second} {back} {first}{where}"]


SPOTS = {
    2: [(-.5, 0), (.5, 0)],
    3: [(-.5, -.4), (.5, -.4), (0, .5)],
    4: [(-.5, -.5), (.5, -.5), (-.5, .5), (.5, .5)],
    5: [(-.6, -.6), (.6, -.6), (0, 0), (-.6, .6), (.6, .6)],
    6: [(-.62, -.4), (0, -.4), (.62, -.4), (-.62, .45), (0, .45), (.62, .45)],
}


def count(picture, r):
    place, behind = background(picture, r, .6)
    n = r.choices([2, 3, 4, 5, 6], [3, 3, 3, 2, 2])[0]
    if r.random() < .7:
        name, colour = pick_shape(r)
        plural = SHAPES[name][0]
        def drawn(pen, skin): put_shape(pen, r, name, skin)
    else:
        name, paint, colours = r.choice(THINGS)
        colour = r.choice(colours)
        plural = PLURALS.get(name, name + "s")
        def drawn(pen, skin): paint(pen, skin, r)
    skin = tint(r, colour)
    turn = r.choice([0, .1, pi/2] if n == 6 else [0, 0, pi/2, r.uniform(-.3, .3)])
    k = W*r.uniform(.11, .155)*(.85 if n > 4 else 1)
    c, s, spread = cos(turn), sin(turn), W*r.uniform(.4, .46)
    for u, v in SPOTS[n]:
        u, v = u + r.uniform(-.06, .06), v + r.uniform(-.06, .06)
        x, y = W/2 + spread*(c*u - s*v), W/2 + spread*(s*u + c*v)
        pen = pen_for(picture, r, x, y, k, skin, behind)
        pen.hole = behind
        drawn(pen, skin)
    full = f"{NUMBERS[n]} {colour} {plural}, {place}"
    return [full, f"{other(r, place)}, {other(r, colour)} {plural}, {NUMBERS[n]}"]


# --- Everyday things ------------------------------------------------------------------------------
BROWN, LEAF, RED, GOLD = (120, 78, 44), (66, 150, 66), (206, 52, 46), (248, 204, 60)
GLASS, TYRE, CREAM = (176, 218, 244), (36, 34, 38), (246, 236, 214)


def house(pen, c, r):
    pen.fill([(-.75, -.2), (.75, -.2), (.75, .9), (-.75, .9)], c)
    roof = r.choice([RED, BROWN, (90, 92, 104)]) if far(c, RED) > 150 else (84, 86, 100)
    pen.fill([(-.98, -.2), (0, -1), (.98, -.2)], roof)
    pen.fill([(-.18, .3), (.2, .3), (.2, .9), (-.18, .9)], BROWN if far(c, BROWN) > 100 else CREAM)
    for x in (-.5, .5): pen.fill([(x - .16, 0), (x + .16, 0), (x + .16, .3), (x - .16, .3)], GLASS)


def tree(pen, c, r):
    pen.fill([(-.16, 0), (.16, 0), (.2, 1), (-.2, 1)], BROWN)
    if r.random() < .5:
        for x, y, k in ((-.38, -.2, .45), (.38, -.2, .45), (0, -.58, .5)):
            pen.fill(oval(x, y, k), c, line=False)
    else:
        for y in (.35, -.05, -.45): pen.fill([(0, y - .65), (.62 + y*.3, y), (-.62 - y*.3, y)], c)


def car(pen, c, r):
    pen.fill([(-.6, -.1), (-.38, -.55), (.35, -.55), (.62, -.1)], c)
    pen.fill([(-1.05, -.12), (1.05, -.12), (1.05, .38), (-1.05, .38)], c)
    pen.fill([(-.44, -.12), (-.3, -.44), (-.04, -.44), (-.04, -.12)], GLASS, line=False)
    pen.fill([(.06, -.12), (.06, -.44), (.28, -.44), (.46, -.12)], GLASS, line=False)
    for x in (-.58, .58):
        pen.fill(oval(x, .4, .27), TYRE)
        pen.fill(oval(x, .4, .1), (200, 200, 205), line=False)


def boat(pen, c, r):
    pen.fill([(-1, .3), (1, .3), (.65, .82), (-.65, .82)], c)
    pen.stroke([(0, .3), (0, -.95)], BROWN, .09)
    pen.fill([(.08, -.9), (.8, .15), (.08, .15)], CREAM)
    pen.fill([(-.08, -.7), (-.6, .15), (-.08, .15)], CREAM)


def flower(pen, c, r):
    pen.stroke([(0, 0), (.04, 1)], LEAF, .11)
    pen.fill(oval(.3, .6, .27, .12, -.5), LEAF)
    n = r.choice([5, 6])
    for i in range(n):
        a = 2*pi*i/n
        pen.fill(oval(.38*cos(a), -.35 + .38*sin(a), .27), c)
    pen.fill(oval(0, -.35, .24), GOLD if far(c, GOLD) > 120 else BROWN)


def fish(pen, c, r):
    s = r.choice([-1, 1])
    pen.fill([(s*.55, 0), (s*1.1, -.45), (s*1.1, .45)], c)
    pen.fill(oval(0, 0, .78, .48), c)
    pen.fill([(s*.1, -.15), (s*.4, -.1), (s*.35, .2)], shade(c, .7), line=False)
    pen.fill(oval(-s*.42, -.12, .13), (255, 255, 255))
    pen.fill(oval(-s*.44, -.12, .06), TYRE, line=False)


def bird(pen, c, r):
    s = r.choice([-1, 1])
    pen.fill([(s*.5, .1), (s*1.1, -.2), (s*1.05, .3)], c)
    pen.fill(oval(0, .12, .68, .46), c)
    pen.fill(oval(-s*.5, -.4, .34), c)
    pen.fill([(-s*.78, -.5), (-s*1.15, -.34), (-s*.78, -.24)], (250, 160, 40))
    pen.fill(oval(s*.12, .08, .36, .2, s*.4), shade(c, .7))
    pen.fill(oval(-s*.56, -.46, .08), TYRE if sum(c) > 250 else (255, 255, 255), line=False)
    for x in (-.1, .15): pen.stroke([(x, .5), (x, .85)], (240, 150, 40), .07)


def sun(pen, c, r):
    for i in range(10):
        a = 2*pi*i/10
        pen.stroke([(.6*cos(a), .6*sin(a)), (1.05*cos(a), 1.05*sin(a))], c, .12)
    pen.fill(oval(0, 0, .55), c)


def cup(pen, c, r):
    pen.outline(oval(.62, .05, .34, .36))
    pen.stroke(oval(.6, .05, .3, .32), c, .14)
    pen.fill([(-.62, -.6), (.62, -.6), (.5, .75), (-.5, .75)], c)
    pen.fill(oval(0, -.6, .62, .16), (96, 60, 36))


def apple(pen, c, r):
    def dent(u, v): return .16*(v < -.6)*(1 - abs(u)*1.2)
    pen.fill([(.82*u*(1 - .12*(v > 0)*v), .15 + .78*v + dent(u, v)) for u, v in CIRCLE], c)
    pen.stroke([(0, -.5), (.1, -.95)], BROWN, .1)
    pen.fill(oval(.35, -.8, .26, .12, -.4), LEAF)


def ball(pen, c, r):
    pen.fill(oval(0, 0, .9), c)
    for i in (0, 2, 4):
        rim = [(.88*cos(pi*(i + k/4)/3), .88*sin(pi*(i + k/4)/3)) for k in range(5)]
        pen.fill([(0, 0), *rim], (250, 250, 250) if far(c, (250,)*3) > 150 else RED, line=False)
    pen.outline(oval(0, 0, .9))


def balloon(pen, c, r):
    pen.stroke([(0, .45), (.1, .7), (-.08, .9), (.04, 1.15)], (80, 80, 84), .06)
    pen.fill([(-.12, .55), (.12, .55), (0, .35)], c)
    pen.fill(oval(0, -.3, .62, .76), c)
    pen.fill(oval(-.22, -.6, .13, .2, .4), shade(c, 1.7), line=False)


def umbrella(pen, c, r):
    pen.stroke([(0, -.2), (0, .75), (.12, .9), (.28, .78)], BROWN, .1)
    top = [(x, .9*y - .05) for x, y in upper_half(12)]
    pen.fill([*top, (.66, .1), (.33, -.05), (0, .1), (-.33, -.05), (-.66, .1)], c)


def mushroom(pen, c, r):
    pen.fill([(-.26, 0), (.26, 0), (.36, .9), (-.36, .9)], CREAM)
    pen.fill([(.98*x, .15 + .98*y) for x, y in upper_half(14)], c)
    for x, y in ((-.5, -.2), (.1, -.5), (.5, -.1)):
        pen.fill(oval(x, y, .15), (255, 255, 255) if far(c, (255,)*3) > 150 else RED, line=False)


def butterfly(pen, c, r):
    for s in (-1, 1):
        pen.fill(oval(s*.52, -.36, .5, .44, s*.5), c)
        pen.fill(oval(s*.42, .4, .36, .36), c)
        pen.fill(oval(s*.56, -.38, .18), shade(c, 1.6) if sum(c) < 600 else GOLD, line=False)
        pen.stroke([(0, -.5), (s*.25, -.95)], TYRE, .06)
    pen.fill(oval(0, 0, .12, .62), (60, 44, 40))


def snowman(pen, c, r):
    w = (250, 250, 252)
    pen.fill(oval(0, .5, .58), w)
    pen.fill(oval(0, -.32, .4), w)
    pen.fill([(-.42, .06), (.42, .06), (.4, -.1), (-.4, -.1)], c)
    pen.fill([(-.3, -.62), (.3, -.62), (.26, -1.05), (-.26, -1.05)], c)
    for x in (-.14, .14): pen.fill(oval(x, -.42, .06), TYRE, line=False)
    pen.fill([(0, -.34), (.32, -.26), (0, -.2)], (246, 140, 40), line=False)


def rocket(pen, c, r):
    pen.fill([(-.28, .55), (0, 1.15), (.28, .55)], (250, 150, 40))
    for s in (-1, 1):
        fin = [(s*.3, .15), (s*.75, .75), (s*.3, .62)]
        pen.fill(fin, RED if far(c, RED) > 150 else (70, 80, 160))
    pen.fill([(-.36, .62), (-.4, -.3), (0, -1.1), (.4, -.3), (.36, .62)], c)
    pen.fill(oval(0, -.2, .19), GLASS)


def key(pen, c, r):
    pen.stroke([(-.3, 0), (1, 0)], c, .2)
    pen.stroke([(.9, 0), (.9, .4)], c, .18)
    pen.stroke([(.55, 0), (.55, .32)], c, .18)
    pen.stroke(oval(-.58, 0, .34), c, .2)


def book(pen, c, r):
    pen.fill([(-.7, -.85), (.62, -.85), (.62, .85), (-.7, .85)], c)
    pen.fill([(.62, -.8), (.76, -.72), (.76, .9), (-.6, .9), (-.6, .84), (.62, .84)], CREAM)
    label = [(-.4, -.5), (.35, -.5), (.35, -.2), (-.4, -.2)]
    pen.fill(label, CREAM if far(c, CREAM) > 150 else BROWN, line=False)


def clock(pen, c, r):
    pen.fill(oval(0, 0, .95), c)
    pen.fill(oval(0, 0, .7), (252, 252, 250))
    a = r.uniform(0, 6.3)
    pen.stroke([(.36*cos(a), .36*sin(a)), (0, 0), (.58*cos(a + 2), .58*sin(a + 2))], TYRE, .09)


def kite(pen, c, r):
    pen.stroke([(0, .5), (.15, .75), (-.1, .9), (.1, 1.15)], (90, 80, 80), .06)
    pen.fill([(0, -1.05), (.68, -.3), (0, .6), (-.68, -.3)], c)
    pen.stroke([(0, -1), (0, .55)], shade(c, .55), .06)
    pen.stroke([(-.63, -.3), (.63, -.3)], shade(c, .55), .06)


def icecream(pen, c, r):
    pen.fill([(-.45, -.05), (.45, -.05), (0, 1.1)], (222, 164, 90))
    pen.fill(oval(0, -.4, .56, .52), c)
    pen.fill(oval(0, -.95, .12), RED, line=False)


def lamp(pen, c, r):
    pen.fill([(-.1, 0), (.1, 0), (.1, .8), (-.1, .8)], (120, 110, 100))
    pen.fill(oval(0, .85, .45, .14), (120, 110, 100))
    pen.fill([(-.36, -.9), (.36, -.9), (.75, .05), (-.75, .05)], c)


def chair(pen, c, r):
    pen.fill([(-.6, -1), (-.4, -1), (-.4, .1), (-.6, .1)], c)
    pen.fill([(-.6, 0), (.6, 0), (.6, .24), (-.6, .24)], c)
    for x in (-.5, .46): pen.fill([(x - .09, .24), (x + .09, .24), (x + .09, 1), (x - .09, 1)], c)


def cake(pen, c, r):
    pen.fill([(-.85, 0), (.85, 0), (.85, .8), (-.85, .8)], c)
    icing = [(-.85, -.1), (.85, -.1), (.85, .2), (.5, .08), (.2, .3),
             (-.15, .1), (-.5, .3), (-.85, .12)]
    pen.fill(icing, (255, 246, 240))
    for x in (-.45, 0, .45):
        pen.stroke([(x, -.1), (x, -.5)], (230, 80, 120), .1)
        pen.fill(oval(x, -.62, .08, .13), GOLD, line=False)


def gift(pen, c, r):
    g = GOLD if far(c, GOLD) > 150 else RED
    pen.fill([(-.8, -.4), (.8, -.4), (.8, .85), (-.8, .85)], c)
    pen.fill([(-.13, -.4), (.13, -.4), (.13, .85), (-.13, .85)], g, line=False)
    pen.fill([(-.8, .12), (.8, .12), (.8, .34), (-.8, .34)], g, line=False)
    for s in (-1, 1): pen.fill(oval(s*.26, -.6, .27, .17, s*-.5), g)


ANY = ["red", "orange", "yellow", "green", "blue", "purple",
       "pink", "brown", "black", "white", "grey", "turquoise"]
THINGS = [   # (noun, how it is drawn, its colours)
    ("house", house, ANY),
    ("tree", tree, ["green", "green", "orange", "yellow", "red", "brown", "lime"]),
    ("car", car, ANY),
    ("boat", boat, ANY),
    ("flower", flower, ANY),
    ("fish", fish, ANY),
    ("bird", bird, ANY),
    ("sun", sun, ["yellow", "orange", "red"]),
    ("cup", cup, ANY),
    ("apple", apple, ["red", "green", "yellow"]),
    ("ball", ball, ANY),
    ("balloon", balloon, ANY),
    ("umbrella", umbrella, ANY),
    ("mushroom", mushroom, ["red", "brown", "orange", "purple", "blue", "white"]),
    ("butterfly", butterfly, ANY),
    ("snowman", snowman, ["red", "blue", "green", "black", "purple"]),
    ("rocket", rocket, ANY),
    ("key", key, ["yellow", "grey", "orange", "red", "blue", "black"]),
    ("book", book, ANY),
    ("clock", clock, ANY),
    ("kite", kite, ANY),
    ("ice cream", icecream, ["pink", "brown", "white", "green", "yellow", "purple"]),
    ("lamp", lamp, ANY),
    ("chair", chair, ANY),
    ("cake", cake, ["pink", "brown", "yellow", "white", "purple"]),
    ("gift", gift, ANY),
]
LIKE = {   # the body that a thing looks like
    "ball": "round", "balloon": "round", "clock": "round", "apple": "round", "sun": "round",
    "gift": "square", "book": "square", "rocket": "tall",
    "boat": "long", "car": "long", "fish": "long",
}
THINGS = [(name, drawn, [c for c in colours if not kept_back(c, LIKE.get(name, ""))])
          for name, drawn, colours in THINGS]
PLURALS = {"fish": "fish", "butterfly": "butterflies",
           "ice cream": "ice creams", "snowman": "snowmen"}


def thing(picture, r):
    place, behind = background(picture, r, .3)
    name, drawn, colours = r.choice(THINGS)
    colour = r.choice(colours)
    skin = tint(r, colour)
    sizes = [("small", r.uniform(.15, .19)), ("", r.uniform(.25, .31)),
             ("big", r.uniform(.35, .42))]
    size, radius = r.choice(sizes)
    slack = W*(.5 - radius*.95)*.8
    x, y = W/2 + r.uniform(-slack, slack), W/2 + r.uniform(-slack, slack)
    pen = pen_for(picture, r, x, y, radius*W, skin, behind, .15)
    drawn(pen, skin, r)
    size = size if r.random() < .8 else ""
    full = ", ".join([" ".join(filter(None, [size, colour, name])), place])
    return [full, f"{other(r, place)}, {name}, {other(r, colour)}"]


# --- A picture ------------------------------------------------------------------------------------
DRAW = {"creature": creature, "shape": shape, "pair": pair, "count": count, "thing": thing}
FILTERS = [getattr(Image.Resampling, name) for name in ("BOX", "BILINEAR", "BICUBIC", "LANCZOS")]
LIGHTS = [Image.new("RGB", (SIZE, SIZE), c) for c in (
    (0, 0, 0), (255, 255, 255), (255, 200, 120), (120, 160, 255), (128, 128, 128))]


def scene_of(
    seed: int,      # as in `draw`
    index: int,
) -> str:           # the scene that `draw(seed, index)` shows
    "Name the scene of a picture without drawing it."
    return random.Random(f"world {seed} {index}").choices(list(SCENES), list(SCENES.values()))[0]


def draw(
    seed: int,              # names the world: another seed gives another set of pictures
    index: int,             # number of the picture in it
    scene: str | None = None,   # one of `SCENES`, or by the mixture's weights
) -> tuple[Image.Image, list[str]]:   # 64x64 RGB; the full caption first, then a freer one
    "Draw picture `index` of world `seed` and caption it."
    r = random.Random(f"world {seed} {index}")
    drawn = r.choices(list(SCENES), list(SCENES.values()))[0]
    picture = Image.new("RGB", (W, W))
    captions = DRAW[scene or drawn](picture, r)
    picture = picture.resize((SIZE, SIZE), r.choice(FILTERS))
    if r.random() < .6: picture = Image.blend(picture, r.choice(LIGHTS), r.uniform(-.08, .13))
    return picture, list(dict.fromkeys(captions))
