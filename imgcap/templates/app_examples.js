// A drawing that is chosen is told to the server by its name; gradio gives `element` and `trigger`.
element.addEventListener('click', event => {
  const button = event.target.closest('.imgcap-example');
  if (button) trigger('choose', {name: button.dataset.name});
});
