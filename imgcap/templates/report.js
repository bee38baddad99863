// Order, filter and search in the pictures of a report. Without it the page shows them all.
// Pictures that are shown at first, and how many more at a time; a phone has one column
const phone = matchMedia('(max-width: 40rem)');
const STEP = phone.matches ? 12 : 20;
const $ = id => document.getElementById(id);
const list = $('cards');
const cards = [...list.children];
const tools = ['sort', 'group', 'word', 'place', 'low', 'high'].map($);
let found = cards; // Those that fit, in order
let shown = STEP; // So many of them
let visited = null; // A further one that a link or a key led to

// How pictures are ordered
const by = (name, way) => (a, b) => way * (a.dataset[name] - b.dataset[name]);
const nameOf = card => card.querySelector('.name').textContent;
const alphabet = new Intl.Collator(undefined, {numeric: true});
const orders = {
  worst: by('score', 1),
  best: by('score', -1),
  unsure: by('confidence', 1),
  sure: by('confidence', -1),
  name: (a, b) => alphabet.compare(nameOf(a), nameOf(b)),
};

function sort() {
  cards.sort(orders[$('sort').value]);
  list.replaceChildren(...cards);
}

// The start of a word; Chinese and Japanese have no blanks between words, so there it is anywhere.
function pattern(word) {
  const anywhere = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}]/u.test(word);
  const literally = word.replace(/[.*+?^${}()|[\]\\\/]/g, '\\$&');
  return new RegExp((anywhere ? '' : '(?<![\\p{L}\\p{N}])') + literally, 'iu');
}

function fits(card, words, low, high) {
  const {score, groups} = card.dataset, group = $('group').value;
  if (+score < low || +score > high || group && !groups.split(' ').includes(group)) return false;
  if (!words.length) return true;
  const parts = [...card.querySelectorAll($('place').value)];
  const text = parts.map(part => part.textContent).join(' ');
  return words.every(word => word.test(text));
}

function filter() {
  const low = +$('low').value, high = +$('high').value;
  const words = $('word').value.split(/\s+/).filter(Boolean).map(pattern);
  found = cards.filter(card => fits(card, words, low, high));
  $('low-now').textContent = low.toFixed(2);
  $('high-now').textContent = high.toFixed(2);
  shown = STEP;
  visited = null;
  show();
  if (!found.length && low > high) $('count').textContent = 'The lowest is above the highest.';
}

function show() {
  const visible = new Set(found.slice(0, shown)).add(visited);
  for (const card of cards) card.hidden = !visible.has(card);
  const left = found.length - shown;
  $('rest').hidden = left <= 0;
  $('more').textContent = `Show ${Math.min(STEP, left)} more`;
  $('all').textContent = `Show all ${found.length}`;
  const of = `${found.length} of ${cards.length} pictures`;
  $('count').textContent = !found.length ? 'No picture has all of that.'
    : left > 0 ? `${of}, the first ${shown} are shown.` : `${of}.`;
}

// From picture to picture
function visit(card) {
  const place = found.indexOf(card);
  if (place < shown + STEP) shown = Math.max(shown, place + 1);
  visited = card;
  show();
  card.querySelector('.name').focus({preventScroll: true});
  card.scrollIntoView({block: 'nearest'});
}

function reset() {
  for (const tool of tools) tool.value = tool.dataset.first;
  sort();
  filter();
}

function follow() {
  const card = cards.find(card => `#${card.id}` === location.hash);
  if (!card) return;
  if (!found.includes(card)) reset();
  visit(card);
}

for (const tool of tools)
  tool.addEventListener('input', () => {
    if (tool === $('sort')) sort();
    filter();
  });
$('reset').addEventListener('click', () => { reset(); $('word').focus(); });
for (const [id, more] of [['more', STEP], ['all', Infinity]])
  $(id).addEventListener('click', () => {
    const next = found[shown];
    shown = Math.min(found.length, shown + more);
    visit(next);
  });
list.addEventListener('click', event => {
  const name = event.target.closest('.name');
  if (name?.hash !== location.hash || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault(); // to go where one is takes the focus away
  visit(name.closest('li'));
});
document.addEventListener('keydown', event => {
  const step = {ArrowLeft: -1, ArrowRight: 1}[event.key];
  const card = document.activeElement.closest('#cards > li');
  if (!step || !card || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
  const next = found[found.indexOf(card) + step];
  if (!next) return;
  event.preventDefault();
  visit(next);
});
window.addEventListener('hashchange', follow);
// A range says 0 where its first value is written 0.00
function isChosen({type, value, dataset}) {
  return type === 'range' ? +value !== +dataset.first : value !== dataset.first;
}
// Whoever comes back finds what was chosen, which the browser fills in after this script
window.addEventListener('pageshow', event => {
  if (event.persisted || !tools.some(isChosen)) return;
  $('tools').open = true;
  sort();
  filter();
  follow();
});
const fold = () => { $('tools').open = !phone.matches; };
phone.addEventListener('change', fold);
fold();
$('tools').hidden = $('hint').hidden = $('count').hidden = cards.length < 2;
filter();
list.classList.add('ready');
follow();
