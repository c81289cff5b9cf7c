// What one's role may do, so that nobody is offered what the server would refuse. The server decides all the same.

const RANKS = ['viewer', 'operator', 'manager', 'admin'];

let own = RANKS.length - 1; // until it is known, and where it cannot be asked

export function learnRole({ role }) {
  own = RANKS.indexOf(role);
}

/** Whether one's role is at least this. */
export const may = (rank) => own >= RANKS.indexOf(rank);
