// What the page of the web demo does by itself. gradio runs it with `element`, the message's, and
// `props`; `MEGABYTES`, how large a file may be, is set before it.
const say = text => { props.value = text };
element.setAttribute('role', 'status');
element.setAttribute('aria-live', 'polite');

// The map of the word under the pointer or in focus
const point = word => {
  const veil = document.querySelector('.imgcap-veil');
  const readout = document.querySelector('.imgcap-readout');
  if (!veil) return;
  for (const other of document.querySelectorAll('.imgcap-word.imgcap-lit'))
    other.classList.remove('imgcap-lit');
  veil.hidden = !word;
  readout.textContent = word ? word.getAttribute('aria-label') : '\u00a0';
  if (!word) return;
  const [left, top, right, bottom] = word.dataset.covers.split(' ').map(Number);
  Object.assign(veil.style, {
    left: `${100 * left}%`,
    top: `${100 * top}%`,
    width: `${100 * (right - left)}%`,
    height: `${100 * (bottom - top)}%`,
  });
  veil.src = word.dataset.veil;
  word.classList.add('imgcap-lit');
};
const wordOf = target => target instanceof Element
  ? target.closest('.imgcap-word[data-veil]') : null;
document.addEventListener('pointerover', event =>
  wordOf(event.target) && point(wordOf(event.target)));
document.addEventListener('pointerout', event =>
  wordOf(event.target) && point(wordOf(document.activeElement)));
document.addEventListener('focusin', event => point(wordOf(event.target)));

// Why a file is not taken, said before it is sent
const refusal = file => {
  if (!file.type.startsWith('image/'))
    return `${file.name} is not a picture. Choose a JPEG, PNG, WebP or GIF file.`;
  if (file.size > MEGABYTES * 1e6)
    return `${file.name} has ${(file.size / 1e6).toFixed(1)} MB, more than the ${MEGABYTES} MB `
      + 'that are taken. Choose a smaller picture.';
};
const escaped = text => {
  const p = document.createElement('p');
  p.textContent = text;
  p.className = 'imgcap-refusal';
  return p.outerHTML;
};
const refused = file => {
  const why = refusal(file);
  if (why) say(escaped(why));
  return Boolean(why);
};

// A picture that is pasted or dropped anywhere, as if it were chosen
const fileInput = () => document.querySelector('#imgcap-picture input[type=file]');
const give = async file => {
  if (refused(file)) return;
  if (!fileInput())
    document.querySelector('#imgcap-picture button[aria-label="Upload file"]')?.click();
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
document.addEventListener('paste', event => {
  if (!event.clipboardData.files.length) return;
  event.preventDefault();
  give(event.clipboardData.files[0]);
});
document.addEventListener('dragover', event => event.preventDefault());
document.addEventListener('drop', event => {
  if (!event.dataTransfer.files.length) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  give(event.dataTransfer.files[0]);
}, true);
