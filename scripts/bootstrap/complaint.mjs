/** Something about this machine that its user can put right. Shown as one sentence, without a stack. */
export class Complaint extends Error {}
