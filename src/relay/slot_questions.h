#pragma once

#include <optional>
#include <string>
#include <variant>

#include "wal/lsn.h"
#include "wire/backend_messages.h"

namespace weir::relay {

/// What a session asks of the slots, for a command of its client. Pure.
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
/// Of Use: there is none, and it is made for who comes with it. Nothing was done: it would stay, so
/// it is to be asked for once the start is accepted.
struct ToMake {};
/// All of them.
struct Listed {
  std::string json;  ///< SlotsReport
};
/// Somebody uses it.
struct Busy {
  wire::ErrorReport report;  ///< for who does not want to wait
};
}  // namespace slot_answer

using SlotAnswer =
    std::variant<slot_answer::Done, slot_answer::Found, slot_answer::NotThere, slot_answer::ToMake,
                 slot_answer::Listed, slot_answer::Busy, wire::ErrorReport>;

}  // namespace weir::relay
