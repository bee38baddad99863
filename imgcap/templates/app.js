// What the page of the web demo does by itself. gradio runs it with `element`, the message's, and
// `props`. Before it stand `MEGABYTES`, how large a file may be, and `OTHERS`, what is said of
// files that are no pictures, by the beginning of their media type.
const $ = selector => document.querySelector(selector);
const nearest = (target, selector) =>
  target instanceof Element ? target.closest(selector) : null;
const inPicture = part => $(`#imgcap-picture ${part}`);
element.setAttribute('role', 'status');
element.setAttribute('aria-live', 'polite');

// The part of the picture that a word hangs on: of the one pointed at, else of the one chosen
let chosen = null, lit = null, veil = null;
const light = word => {
  lit = word;
  veil = $('.imgcap-veil');
  for (const each of document.querySelectorAll('.imgcap-word')) {
    each.classList.toggle('imgcap-lit', each === word);
    each.setAttribute('aria-pressed', each === chosen);
  }
  if ($('.imgcap-readout')) $('.imgcap-readout').textContent = word ? word.dataset.said : '';
  if (!veil) return;
  veil.hidden = !word?.dataset.veil;
  if (veil.hidden) return;
  const [left, top, right, bottom] = word.dataset.covers.split(' ').map(Number);
  Object.assign(veil.style, {
    left: `${100 * left}%`,
    top: `${100 * top}%`,
    width: `${100 * (right - left)}%`,
    height: `${100 * (bottom - top)}%`,
  });
  veil.src = word.dataset.veil;
};
const choose = word => light(chosen = word);
document.addEventListener('pointerover', event => {
  const word = nearest(event.target, '.imgcap-word');
  if (word && event.pointerType === 'mouse') light(word);
});
document.addEventListener('pointerout', event =>
  nearest(event.target, '.imgcap-word') && event.pointerType === 'mouse' && light(chosen));
document.addEventListener('focusin', event => {
  const word = nearest(event.target, '.imgcap-word');
  if (word?.matches(':focus-visible')) choose(word);
});
document.addEventListener('click', event => {
  const word = nearest(event.target, '.imgcap-word');
  if (word) choose(word === chosen ? null : word);
});
document.addEventListener('keydown', event => event.key === 'Escape' && choose(null));

// New words: the surest that hangs on a part of the picture is lit; the light stays where gradio
// writes the same words or the picture anew. What the server refused is taken away, so that its
// place is free for another picture
let told = '', refusedOne = null;
const isLit = () => lit?.classList.contains('imgcap-lit') ?? true;
const isVeiled = () => !veil || (lit?.dataset.veil ? !veil.hidden : veil.hidden);
new MutationObserver(() => {
  const back = $('.imgcap-taken-back');
  if (back && back !== refusedOne) inPicture('button[aria-label="Remove Image"]')?.click();
  refusedOne = back;
  const words = [...document.querySelectorAll('.imgcap-word')].map(word => word.dataset.said);
  if (words.join('/') !== told || lit && !lit.isConnected) {
    told = words.join('/');
    choose($('.imgcap-word[data-first]'));
  } else if (veil !== $('.imgcap-veil') || !isLit() || !isVeiled()) light(lit);
}).observe(document.body, {childList: true, subtree: true, attributes: true,
  attributeFilter: ['class', 'hidden', 'data-veil']});

// A caption into the clipboard; where the page is neither this machine's nor https, the old way
const copy = async text => {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = document.createElement('textarea');
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand('copy');
    area.remove();
    return done;
  }
};
document.addEventListener('click', async event => {
  const button = nearest(event.target, '.imgcap-copy');
  if (!button) return;
  const done = await copy(button.dataset.text);
  button.focus();
  button.nextElementSibling.textContent = done ? 'Copied'
    : 'The browser does not let this page copy: mark the words, and copy them';
});

// Who has pressed a button that goes off and on again finds the focus where it was
document.addEventListener('click', event => {
  const button = nearest(event.target, '#imgcap-again');
  if (!button) return;
  new MutationObserver((_, observer) => {
    if (button.disabled) return;
    observer.disconnect();
    if (document.activeElement === document.body) button.focus();
  }).observe(button, {attributes: true, attributeFilter: ['disabled']});
});

// Why a file is not taken, said before it is sent
const say = text => {
  const p = document.createElement('p');
  p.textContent = text;
  p.className = 'imgcap-refusal';
  props.value = p.outerHTML;
};
const refusal = file => {
  const {name, size} = file, type = file.type || (/\.hei[cf]$/i.test(name) ? 'image/heic' : '');
  const other = OTHERS.find(([start]) => type.startsWith(start));
  if (!size) return `${name} is empty: 0 bytes. Copy or download it again.`;
  if (other) return `${name} ${other[1]}`;
  if (!type && !/\.\w+$/.test(name))
    return `${name} has no ending, such as .jpg or .png, by which a browser knows a picture. `
      + 'Rename it, and give it again.';
  if (!type.startsWith('image/'))
    return `${name} is not a picture. Choose a JPEG, PNG, WebP or GIF file.`;
  if (size > MEGABYTES * 1e6)
    return `${name} has ${Math.ceil(size / 1e4) / 100} MB; at most ${MEGABYTES} are taken. `
      + 'Make the picture smaller, or save it as JPEG.';
};
const refused = file => {
  const why = refusal(file);
  if (why) say(why);
  return Boolean(why);
};

// A picture that is pasted or dropped anywhere, as if it were chosen
const fileInput = () => inPicture('input[type=file]');
const give = async file => {
  if (refused(file)) return;
  if (!fileInput()) inPicture('button[aria-label="Upload file"]')?.click();
  for (let tries = 0; !fileInput() && tries < 50; tries++)
    await new Promise(resolve => setTimeout(resolve, 20));
  const transfer = new DataTransfer();
  transfer.items.add(file);
  fileInput().files = transfer.files;
  fileInput().dispatchEvent(new Event('change', {bubbles: true}));
};
document.addEventListener('change', event => {
  if (event.target !== fileInput() || !event.target.files.length) return;
  if (!refused(event.target.files[0])) return;
  event.stopImmediatePropagation();
  event.target.value = '';
}, true);
const taken = (event, data) => {
  const address = data.getData('text/uri-list') || data.getData('text/plain');
  const isAddress = /^\s*(https?|file|data):/i.test(address);
  if (data.files.length) give(data.files[0]);
  else if (isAddress && !nearest(event.target, 'input, textarea'))
    say('That is an address, and this page fetches nothing: save the picture, and give the file; '
      + 'or copy the picture itself.');
  else return;
  event.preventDefault();
  event.stopImmediatePropagation();
};
document.addEventListener('paste', event => taken(event, event.clipboardData), true);
document.addEventListener('dragover', event => event.preventDefault());
document.addEventListener('drop', event => taken(event, event.dataTransfer), true);

// The way back to an empty place for the next picture
document.addEventListener('click', async event => {
  if (!nearest(event.target, '.imgcap-remove')) return;
  inPicture('button[aria-label="Remove Image"]')?.click();
  for (let tries = 0; !fileInput() && tries < 50; tries++)
    await new Promise(resolve => setTimeout(resolve, 20));
  for (let tries = 0; $('.imgcap-stack') && tries < 100; tries++)
    await new Promise(resolve => setTimeout(resolve, 20));
  fileInput()?.closest('button')?.focus();
});
