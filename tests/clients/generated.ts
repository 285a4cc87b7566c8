// Uses of what openapi-typescript makes of /openapi.json; only checked by the compiler, never run.
import type { components, paths } from "./schema";

type Session = components["schemas"]["SessionShape"];
type Pool = paths["/v1/Services/{ServiceSid}/PhoneNumbers"]["post"];
type Sessions = paths["/v1/Services/{ServiceSid}/Sessions"];
type Form<Operation extends { requestBody?: unknown }> =
  NonNullable<Operation["requestBody"]> extends { content: { "application/x-www-form-urlencoded": infer Fields } }
    ? Fields
    : never;

export const bySid: Form<Pool> = { Sid: `PN${"0".repeat(32)}`, IsReserved: true };
export const byNumber: Form<Pool> = { PhoneNumber: "+14155550100" };
export const session: Form<Sessions["post"]> = {
  DateExpiry: "2031-07-30T20:00:00Z",
  Mode: "voice-only",
  Participants: ['{"Identifier": "+14155550100"}'],
};
export const query: NonNullable<paths["/v1/Alerts"]["get"]["parameters"]["query"]> = { LogLevel: "error", PageSize: 5 };
export const isActive = (one: Session): boolean => one.status !== "closed" && one.date_ended === null;
export const names = (page: components["schemas"]["SessionPage"]): (string | null)[] =>
  page.sessions.map((one) => one.unique_name);

// @ts-expect-error: no such mode
export const mode: Form<Sessions["post"]> = { Mode: "loud" };
// @ts-expect-error: no such field
export const field: Form<Pool> = { Number: "+14155550100" };
// @ts-expect-error: no such status
export const isGone = (one: Session): boolean => one.status === "gone";
