// English for the demo.

export default {
  'title': 'Demo store',
  'cart': 'Cart',
  'screen': 'The cart’s screen',
  'screen-how': 'a kiosk on the cart',
  'phone': 'The phone',
  'phone-how': 'of the demo customer',
  'floor': 'The store',
  'floor-how': 'its live floor, as staff see it',
  'scan': 'Scan the cart beside',
  'hint.ready': 'Or point a real phone at the code.',
  'hint.busy': 'The cart has a customer. Check out or end on the phone.',
  'hint.scanned': 'Scanned: both screens show the same number.',
  'hint.none': 'The cart shows no code just now.',
  'problem': 'This page works on the machine that runs “cartlink demo”, and only there.',
};
