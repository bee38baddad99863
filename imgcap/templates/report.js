// Filter and search in the examples of a report. Without it the page shows them all.
const $ = id => document.getElementById(id);
const cards = [...document.querySelectorAll('.cards > li')];
const tools = ['low', 'high', 'word', 'place', 'kind'].map($);

// The start of a word; Chinese and Japanese have no blanks between words, so there it is anywhere.
function pattern(word) {
  const anywhere = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}]/u.test(word);
  const literally = word.replace(/[.*+?^${}()|[\]\\\/]/g, '\\$&');
  return new RegExp((anywhere ? '' : '(?<![\\p{L}\\p{N}])') + literally, 'iu');
}

function filter() {
  const low = +$('low').value, high = +$('high').value;
  const place = $('place').value, kind = $('kind').value;
  const words = $('word').value.split(/\s+/).filter(Boolean).map(pattern);
  for (const card of cards) {
    const text = [...card.querySelectorAll(place)].map(e => e.textContent).join(' ');
    const score = +card.dataset.score;
    card.hidden = score < low || score > high || kind && kind !== card.dataset.kind
      || !words.every(word => word.test(text));
  }
  for (const part of document.querySelectorAll('.kind'))
    part.hidden = !part.querySelector('li[data-kind]:not([hidden])');
  $('low-now').textContent = low.toFixed(2);
  $('high-now').textContent = high.toFixed(2);
  const left = cards.filter(card => !card.hidden).length;
  $('count').textContent = left ? `${left} of these ${cards.length} pictures`
    : low > high ? 'The lowest score is above the highest.'
    : 'No picture has all of that.';
}

for (const tool of tools) tool.addEventListener('input', filter);
$('reset').addEventListener('click', () => {
  for (const tool of tools) tool.value = tool.dataset.first;
  filter();
  $('word').focus();
});
$('tools').hidden = false;
filter();
