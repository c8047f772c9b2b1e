import type { World } from '../kernel/world.ts';

const ADJECTIVES =
  'agile amber bold brave bright brisk calm clever cosmic crisp curious daring deft eager early fabled fair fleet fond gentle glad golden grand hardy honest humble keen kind lively lucid lucky mellow merry mild nimble noble patient placid plucky polite proud quick quiet rapid rare royal sage serene sharp silent silver sleek smooth sober solid steady still sunny swift tidy upbeat vivid warm wise witty zesty';
const NOUNS =
  'ant badger bat bear beaver bee bison boar bream bug calf carp cat chimp cod colt crab crane crow cub deer dog dolphin dove duck eagle eel elk falcon fawn finch fish flea fly foal fowl fox frog gnat gnu goat goose grouse gull hare hawk hen heron hog horse hound jay kite koi lamb lark loon lynx mare midge mink mole moose moth mouse mule newt owl panda perch pig pug quail ram rat ray robin rook seal shad shark sheep shrew shrike skunk sloth slug smelt snail snipe sow sponge squid stag steed stoat stork swan tern toad trout turtle vole wasp whale wolf wren yak zebra';
const pick = (words: readonly string[], byte = 0) => words[byte % words.length] ?? '';
const adjectives = ADJECTIVES.split(' ');
const nouns = NOUNS.split(' ');

/** `brave-otter-417`: what a run without a name is called. */
export function randomName(world: World): string {
  const [a, b, c = 0, d = 0] = world.randomBytes(4);
  return `${pick(adjectives, a)}-${pick(nouns, b)}-${((c << 8) | d) % 1000}`;
}
