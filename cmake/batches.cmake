# compile_in_batches(TARGET SIZE [EXPRESSION]): the sources of TARGET (with EXPRESSION, those whose paths match it) are compiled
# SIZE at a time. A batch has files of one folder only, so a new file moves the files of its folder from batch to batch, and no
# others.
function(compile_in_batches target size)
  get_target_property(sources ${target} SOURCES)
  if(ARGC GREATER 2)
    list(FILTER sources INCLUDE REGEX "${ARGV2}")
  endif()
  foreach(source ${sources})
    get_filename_component(folder ${source} DIRECTORY)
    file(RELATIVE_PATH folder ${PROJECT_SOURCE_DIR} ${folder})
    string(MAKE_C_IDENTIFIER "${folder}" folder)
    math(EXPR batch "${count_${folder}} + 0")
    math(EXPR count_${folder} "${batch} + 1")
    math(EXPR batch "${batch} / ${size}")
    set_source_files_properties(${source} PROPERTIES UNITY_GROUP "${folder}_${batch}")
  endforeach()
  set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_MODE GROUP)
endfunction()
