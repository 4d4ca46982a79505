#pragma once

#include <optional>
#include <string>
#include <variant>

#include "wal/lsn.h"
#include "wire/backend_messages.h"

namespace weir::relay {

/// A session's request to the slots, for a command of its client. Pure.
namespace slot_question {
struct Read {
  std::string name;
};
struct Create {
  std::string name;
  bool temporary = false;
  wal::Lsn restart_lsn;  ///< 0/0: none is reserved
};
struct Drop {
  std::string name;
};
/// To stream from `start` on with it.
struct Use {
  std::string name;
  wal::Lsn start;
  bool make = false;  ///< where ToMake would be the answer
};
struct List {};
}  // namespace slot_question

using SlotQuestion = std::variant<slot_question::Read, slot_question::Create, slot_question::Drop,
                                  slot_question::Use, slot_question::List>;

namespace slot_answer {
struct Done {};
struct Found {
  wal::Lsn restart_lsn;  ///< 0/0: none is reserved
};
struct NotThere {};
/// For Use: there is no such slot, and it is created for the client that brings it. Nothing was
/// done: the slot would remain, so it must be created once the start is accepted.
struct ToMake {};
/// All of them.
struct Listed {
  std::string json;  ///< SlotsReport
};
/// Another session uses it.
struct Busy {
  wire::ErrorReport report;  ///< for a client that does not wait
};
}  // namespace slot_answer

using SlotAnswer =
    std::variant<slot_answer::Done, slot_answer::Found, slot_answer::NotThere, slot_answer::ToMake,
                 slot_answer::Listed, slot_answer::Busy, wire::ErrorReport>;

}  // namespace weir::relay
